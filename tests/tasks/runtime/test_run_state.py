"""What decides the behavior of a run's next attempt is kept apart from its log, and a failing write is an error."""

import json
from pathlib import Path

import pytest

from tasks.runtime.run_state import RunState


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("CL_HOME", str(tmp_path))
    return tmp_path / "work" / "runs"


def test_the_first_value_stays_whatever_later_attempts_see(runs: Path) -> None:
    assert RunState("a").first_seen("promote: champion", 1) == 1
    assert RunState("a").first_seen("promote: champion", 2) == 1
    assert RunState("a").first_seen("promote: last reason", "") == ""
    assert RunState("b").first_seen("promote: champion", 2) == 2


def test_a_subject_is_notified_once_per_run(runs: Path) -> None:
    assert not RunState("a").is_notified("the champion is version 2")
    RunState("a").add_notified("the champion is version 2")
    assert RunState("a").is_notified("the champion is version 2")
    assert not RunState("b").is_notified("the champion is version 2")


def test_a_value_that_cannot_be_written_raises(runs: Path) -> None:
    runs.parent.mkdir()
    runs.write_text("a file where the folder should be")
    with pytest.raises(OSError, match="runs"):
        RunState("a").first_seen("promote: champion", 1)


def test_what_version_0_1_0_wrote_into_its_account_is_still_known(runs: Path) -> None:
    account = runs.with_name("accounts") / "a.jsonl"
    account.parent.mkdir(parents=True)
    lines = [
        {"event": "found", "at": 1.0, "what": "promote: champion", "value": 1},
        {"event": "found", "at": 2.0, "what": "promote: champion", "value": 2},
        {"event": "told", "at": 3.0, "what": "the champion is version 2"},
    ]
    account.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert RunState("a").first_seen("promote: champion", 3) == 1
    assert RunState("a").is_notified("the champion is version 2")
