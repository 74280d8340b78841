"""What a killed supervisor recorded is stopped where it can be, and nothing else is ever sent a signal."""

import json
import socket
import subprocess
import sys

import pytest

from cl_core import processes
from cl_core.errors import InputError
from tasks.server.supervisor import stop_orphaned_services

STOP = """
import sys
from pathlib import Path
from tasks.server.supervisor import stop_orphaned_services
print(*stop_orphaned_services(Path(sys.argv[1])), sep="|")
"""


def stop(record, *tokens):
    """Stop the services of these tokens, in a process group whose death would be seen."""
    services = [{"name": f"service {number}", "process": token} for number, token in enumerate(tokens)]
    record.write_text(json.dumps(services))
    return subprocess.run(
        [sys.executable, "-c", STOP, str(record)], capture_output=True, text=True, start_new_session=True
    )


def test_services_of_other_hosts_and_impossible_numbers_get_no_signal(tmp_path):
    record, host = tmp_path / "services.json", socket.gethostname()
    ticks = [processes.started(1), "5"]
    tokens = ["oldcontainer-41-123456", f"{host}-2-1-5b01234567", f"{host}-0-5", f"{host}--1-5", "", "nonsense"]
    done = stop(record, *tokens, *(f"{host}-1-{tick}" for tick in ticks))
    assert done.returncode == 0, done
    assert not record.exists()
    stopped, elsewhere = done.stdout.strip().split("|")
    assert "service 0 of oldcontainer" in elsewhere and f"service 1 of {host}-2" in elsewhere
    assert processes.started(1), "process 1 still runs"
    assert "service 0" not in stopped
    # Process 1 gets no signal, so it is not said to be stopped.
    assert stopped == "[]"


@pytest.mark.parametrize(
    "content", ["", "{", "{}", '[{"name": "worker"}]', '["worker"]', '[{"name": 1, "process": 2}]']
)
def test_a_record_that_cannot_be_read_is_named_and_kept(tmp_path, content):
    (record := tmp_path / "services.json").write_text(content)
    with pytest.raises(InputError, match=r"services\.json should list the services .* remove the file"):
        stop_orphaned_services(record)
    assert record.read_text() == content


def test_a_service_that_still_runs_is_stopped(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as service:
        done = stop(tmp_path / "services.json", processes.token(service.pid))
        assert service.wait(60) != 0
    assert done.stdout.strip() == "['service 0']|[]"
