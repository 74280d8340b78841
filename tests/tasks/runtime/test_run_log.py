"""The run log: a kill leaves what it cost, and the attempts of a run add up."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cl_core import processes
from tasks.runtime.run_log import RunLog, logged_runs
from tasks.runtime.settings import Settings


def test_a_killed_process_leaves_its_last_sign_of_life_and_the_next_one_adds_to_it(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "run.jsonl"
    program = f"""
import time
from pathlib import Path
from cl_core import processes
from tasks.runtime.run_log import RunLog
log = RunLog(Path({str(path)!r}))
log.append("run began", name="quick-fox", flow="retrain", parameters={{}})
log.append("began", attempt="a", step="pretrain", process=processes.token())
log.append("alive", attempt="a", seconds=8.0, cpu_seconds=7.5, gpu_seconds=0.0)
print("alive", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"alive\n"
        assert RunLog(path).read().attempts[0].outcome == "running"
        process.kill()
    run = RunLog(path).read()
    [killed] = run.attempts
    assert (run.name, run.state, killed.outcome, killed.seconds, killed.cpu_seconds) == (
        "quick-fox",
        "",
        "killed",
        8.0,
        7.5,
    )
    again = RunLog(path)
    # As a container does it: the next process has the number of the one that was killed.
    again.append("run began", name="quick-fox", flow="retrain", parameters={})
    again.append("began", attempt="b", step="pretrain", process=processes.token())
    again.append("ended", attempt="b", outcome="ran", seconds=2.0, cpu_seconds=1.0, gpu_seconds=0.0)
    assert [(one.outcome, one.seconds) for one in again.read().attempts] == [("killed", 8.0), ("ran", 2.0)]


def test_what_an_earlier_process_left_open_was_killed_even_if_its_number_is_in_use_again(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run.jsonl")
    log.append("began", attempt="a", step="ingest", process=processes.token())
    assert log.read().attempts[0].outcome == "running"
    log.append("run began", name="n", flow="f", parameters={})
    assert log.read().attempts[0].outcome == "killed"


def test_a_line_that_a_crash_cut_off_is_left_out_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run.jsonl")
    log.append("run began", name="n", flow="f", parameters={})
    with log.path.open("a") as file:
        file.write('{"event": "began", "attempt": "a", "st')
    log.append("run ended", state="Failed", message="no")
    assert [line["event"] for line in log.lines()] == ["run began", "run ended"]
    assert log.read().state == "Failed"


def test_a_run_log_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    RunLog(tmp_path / "runs" / "run.jsonl").append("run began", name="n")
    assert "cannot write the run log" in caplog.text


def test_lines_of_two_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    program = f"""
from pathlib import Path
from tasks.runtime.run_log import RunLog
for number in range(40):
    RunLog(Path({str(path)!r})).append("message", attempt="a", message="x" * 3000)
"""
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    lines = [line for line in path.read_text().split("\n") if line]
    assert len(lines) == 80 and all(json.loads(line)["event"] == "message" for line in lines)


def test_an_account_of_version_0_1_0_is_read_in_the_words_of_this_one(tmp_path: Path) -> None:
    account = tmp_path / "accounts" / "run.jsonl"
    account.parent.mkdir()
    lines = [
        {"event": "run began", "at": 1.0, "name": "quick-fox", "flow": "retrain", "parameters": {}},
        {"event": "began", "at": 2.0, "attempt": "a", "step": "ingest", "process": "elsewhere-1-1"},
        {"event": "said", "at": 3.0, "attempt": "a", "sentence": "the source has not changed"},
        {"event": "made", "at": 4.0, "attempt": "a", "made": {"digest": "0123"}},
        {"event": "ended", "at": 5.0, "attempt": "a", "outcome": "stood", "seconds": 3.0},
    ]
    account.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    log = RunLog(tmp_path / "runs" / "run.jsonl")
    run = log.read()
    [ingest] = run.attempts
    assert (run.name, ingest.step, ingest.outcome, ingest.seconds) == ("quick-fox", "ingest", "cached", 3.0)
    assert (ingest.messages, ingest.result) == (["the source has not changed"], {"digest": "0123"})
    # A run that waited for its retry across the upgrade continues in the new file.
    log.append("began", attempt="b", step="pretrain", process=processes.token(), inputs={"job": "4567"})
    assert [(attempt.step, attempt.inputs) for attempt in log.read().attempts] == [
        ("ingest", {}),
        ("pretrain", {"job": "4567"}),
    ]
    home = Settings(home=tmp_path)
    account.parent.rename(tmp_path / "work-accounts")
    (tmp_path / "work").mkdir()
    (tmp_path / "work-accounts").rename(tmp_path / "work" / "accounts")
    assert [run.id for run in logged_runs(home)] == ["run"]
