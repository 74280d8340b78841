"""The run log: attempts add up, a kill leaves what it cost, and what was lost is counted apart."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cl_core import processes
from cl_core.report.costs import Outcome, StepCost, cost_line, cost_rows
from tasks.runtime.run_log import RunLog, StepAttempt, run_records, step_costs
from tasks.runtime.settings import Settings


def attempt(step: str, began: float, seconds: float, outcome: Outcome = "ran", **more: object) -> StepAttempt:
    return StepAttempt(step=step, began=began, seconds=seconds, cpu_seconds=seconds / 2, outcome=outcome, **more)


def cost(*attempts: StepAttempt) -> StepCost:
    [found] = step_costs(attempts)
    return found


def test_a_step_that_failed_once_has_lost_that_attempt_and_the_pause_after_it() -> None:
    found = cost(attempt("register", 100, 4, "failed"), attempt("register", 110, 5))
    assert (found.attempts, found.seconds, found.cpu_seconds) == (2, 9, 4.5)
    assert (found.lost_seconds, found.waited_seconds) == (4, 6)
    assert found.outcome == "ran"


def test_a_killed_training_that_goes_on_has_lost_only_what_it_repeats() -> None:
    killed = attempt("pretrain", 0, 3600, "killed", repeated_steps=0)
    again = attempt("pretrain", 3700, 60, repeated_steps=40, repeated_seconds=12.5)
    found = cost(killed, again)
    assert (found.lost_seconds, found.repeated_steps, found.waited_seconds) == (12.5, 40, 100)
    assert cost(killed).lost_seconds == 3600, "nobody has gone on from it yet"


def test_a_training_that_a_person_stopped_and_that_keeps_its_last_step_has_lost_nothing() -> None:
    found = cost(attempt("pretrain", 0, 3600, "interrupted", repeated_steps=0))
    assert (found.outcome, found.lost_seconds) == ("interrupted", 0)
    assert cost_line([found]).endswith("; nothing lost to retries")


def test_a_step_that_simply_ran_has_lost_nothing() -> None:
    found = cost(attempt("evaluate", 0, 7))
    assert (found.lost_seconds, found.waited_seconds, found.repeated_steps) == (0, 0, 0)
    assert cost_line([found]) == "evaluate 7.0 s (3.5 CPU-s); total 7.0 s, 3.5 CPU-s; nothing lost to retries"


def test_the_line_and_the_rows_say_what_was_lost_and_name_gpus_only_where_there_were_some() -> None:
    killed = attempt("pretrain", 0, 100, "killed")
    again = attempt("pretrain", 110, 60, repeated_steps=1400, repeated_seconds=12.0, gpu_seconds=120.0)
    steps = step_costs([attempt("ingest", 0, 0.01), killed, again])
    assert cost_line(steps) == (
        "pretrain 2 min 40 s (80.0 CPU-s, 120.0 GPU-s); total 2 min 40 s, 80.0 CPU-s, 120.0 GPU-s; "
        "12 s lost, 10 s waited between attempts, 1,400 training steps repeated: pretrain (2 attempts)"
    )
    *_, pretrain, total = cost_rows(steps)
    assert (pretrain["seconds"], pretrain["GPU-seconds"], pretrain["seconds lost"]) == ("160.0", "120.0", "12.0")
    assert (total["step"], total["attempts"], total["training steps repeated"]) == ("total", "3", "1,400")


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
    run, [killed] = RunLog(path).read()
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
    assert log.read().run.state == "Failed"


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
    run, [ingest] = log.read()
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
    assert [record.run.id for record in run_records(home)] == ["run"]
