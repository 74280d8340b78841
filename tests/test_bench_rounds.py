"""Which rounds of a benchmark count: those in which the machine was alike, whatever the contestants did."""

import sys
from itertools import cycle
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).with_name("benchmarks")))

import rounds
from rounds import MOST_DRIFT, Contestant, Measured, Round, end_if_void, measure


def round_of(copy: float, product: float, rate: float = 1.0) -> Round:
    return Round({"here": rate}, {"here": rate}, {"copy": copy, "product": product})


def test_a_round_counts_by_what_the_machine_could_do_in_it() -> None:
    given = [
        round_of(10, 100, rate=5.0),
        round_of(4, 100, rate=1.0),  # A neighbor copied memory.
        round_of(11, 110, rate=0.1),
        round_of(10, 200, rate=9.0),
        round_of(9.5, 95, rate=7.0),
    ]
    counted = rounds._alike(given)
    assert [one.rates["here"] for one in counted] == [5.0, 0.1, 7.0]
    assert Measured("", counted, 2).drift == pytest.approx(0.1)


def test_disturbed_rounds_are_repeated_and_too_many_make_a_run_void(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(rounds, "_COPIED", 1)
    monkeypatch.setattr(rounds, "_SIDE", 1)
    monkeypatch.setattr(rounds, "_LEAST_S", 0)
    ran: list[int] = []
    contestants = {"here": Contestant(lambda: ran.append(1) or 1)}

    def machine(seconds: list[float]) -> None:
        taken = cycle(seconds)
        monkeypatch.setattr(rounds, "_seconds", lambda work: next(taken))

    # Copy and product of the round that warms up, and of others; every fourth is disturbed.
    machine([1.0, 1.0, 1.0, 1.1, 2.0, 1.0, 1.1, 1.0])
    measured = measure(contestants, rounds=5)
    assert len(measured.rounds) == 5 and measured.passed_over == 2 and len(ran) == 8
    assert measured.drift <= MOST_DRIFT
    machine([1.0, 1.0, 3.0, 1.0, 9.0, 1.0, 27.0, 1.0])
    restless = measure(contestants, rounds=5)
    assert len(restless.rounds) == 15 and restless.drift > MOST_DRIFT
    with pytest.raises(SystemExit, match="void"):
        end_if_void(restless, small=False)
    assert "rounds did not count" in capsys.readouterr().out

    monkeypatch.setattr(rounds, "_KEPT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["block.py"])
    with pytest.raises(SystemExit, match="void: restless: "):
        end_if_void(measured._replace(title="quiet"), restless._replace(title="restless"), small=False)
    assert rounds.kept_rates("block") == {"quiet": measured.rates}, "what the machine was quiet for is kept"
