"""Servers that other machines can reach ask who comes, or are not started."""

import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from machine import DECLARATION, Machine, at_work

SETTINGS = {
    "PREFECT_SERVER_API_AUTH_STRING": "operator:a-word-of-prefect",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "a-word-of-mlflow",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-key-of-mlflow",
}


@pytest.fixture(scope="module")
def address() -> str:
    """One of this machine's that is not the loopback's."""
    every = [one.address for some in psutil.net_if_addrs().values() for one in some if one.family.name == "AF_INET"]
    found = [one for one in every if not one.startswith("127.")]
    if not found:
        pytest.skip("this machine has no address but its loopback")
    return found[0]


@pytest.mark.parametrize("setting", SETTINGS)
def test_without_authentication_it_is_refused_with_the_setting_named(
    address: str, setting: str, tmp_path: Path
) -> None:
    given = {name: value for name, value in SETTINGS.items() if name != setting}
    machine = Machine(tmp_path / "home", DECLARATION, given, host=address)
    refused = subprocess.run(machine.command(), env=machine.environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert setting in refused.stderr and f"on {address} would answer every machine without a password" in refused.stderr
    assert machine.processes() == []


def test_with_it_both_servers_ask_everyone_and_runs_do_their_work(
    address: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with at_work(tmp_path_factory.mktemp("bound"), host=address, **SETTINGS) as machine:
        for url in (f"{machine.api}/flows/count", f"{machine.mlflow}/api/2.0/mlflow/registered-models/search"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(url), timeout=30)
            refused.value.close()
            assert refused.value.code == 401, url
        run = machine.run("retrain/small")
        assert machine.wait_for(run)["type"] == "COMPLETED", machine.logs(run)
        commands = " ".join(word for one in machine.processes() for word in one.cmdline())
        texts = b"".join(path.read_bytes() for path in machine.home.rglob("*") if path.is_file())
        for secret in ("a-word-of-prefect", "a-word-of-mlflow", "a-key-of-mlflow"):
            assert secret not in commands + machine.output
            assert secret.encode() not in texts
