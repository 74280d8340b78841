"""Why a step ran: what changed since the last run of the same flow and model, or that a person asked for it."""

import pytest

from cl_core.hashing import digest_of
from cl_core.report.costs import Outcome, StepAttempt
from tasks.lineage.explain import previous_run, step_reasons
from tasks.lineage.graph import parse_version
from tasks.runtime.run_log import FlowRun

DATA = {"name": "shapes", "source": "synthetic", "source_options": {"count": 400}}


def run(
    began: float,
    *,
    epochs: int = 2,
    snapshot: str = "a" * 64,
    model: str = "shapes",
    pretrain: Outcome = "ran",
    force: bool = False,
    champion: int = 0,
    workers: int = 1,
    recorded: bool = True,
) -> FlowRun:
    """A run whose training starts from a champion; its log names the inputs of the steps unless told otherwise."""
    data, training, compute = DATA, {"epochs": epochs}, {"workers": workers}
    parameters = {"model_name": model, "data": data, "training": training, "compute": compute, "force": force}
    job = digest_of([snapshot, training, champion])
    specs = {name: digest_of(value) for name, value in {"data": data, "training": training, "compute": compute}.items()}
    attempts = [
        StepAttempt(step="preflight", began=began, outcome="ran"),
        StepAttempt(
            step="ingest",
            began=began,
            outcome="cached",
            messages=["the source has not changed"],
            result={"digest": snapshot},
            inputs={"data": specs["data"], "force": str(force)},
        ),
        StepAttempt(
            step="plan",
            began=began,
            outcome="ran",
            messages=[f"training starts from models:/shapes/{champion}"] if champion else [],
            result={"digest": job},
            inputs={"snapshot": snapshot, **specs},
        ),
        StepAttempt(
            step="pretrain",
            began=began,
            outcome=pretrain,
            messages=[] if pretrain == "running" else ["training took 12 steps"],
            inputs={"job": job, "force": str(force)},
        ),
    ]
    if not recorded:
        attempts = [attempt.model_copy(update={"inputs": {}}) for attempt in attempts]
    return FlowRun(
        id=f"{began}",
        name=f"run-{began:.0f}",
        flow="retrain",
        parameters=parameters,
        began=began,
        attempts=attempts,
    )


def why(run: FlowRun, earlier: FlowRun | None) -> dict[str, str]:
    return {cost.step: reason for cost, reason in step_reasons(run, earlier)}


def test_a_skipped_step_says_what_it_logged_and_one_without_a_result_runs_every_time() -> None:
    reasons = why(run(2), run(1))
    assert reasons["ingest"] == "the source has not changed"
    assert reasons["preflight"] == "it keeps no result, so it runs every time"


def test_a_running_step_says_so() -> None:
    assert why(run(2, pretrain="running"), run(1))["pretrain"] == "It is running"


@pytest.mark.parametrize("recorded", [True, False])
def test_a_training_ran_because_of_the_parameter_that_changed(recorded: bool) -> None:
    assert why(run(2, epochs=5, recorded=recorded), run(1, recorded=recorded))["pretrain"] == (
        "training took 12 steps. It ran because of what changed since run run-1: training.epochs 2 to 5"
    )


@pytest.mark.parametrize("recorded", [True, False])
def test_a_training_ran_because_the_snapshot_changed(recorded: bool) -> None:
    reason = why(run(2, snapshot="b" * 64, recorded=recorded), run(1, recorded=recorded))["pretrain"]
    assert "since run run-1: the result of ingest aaaaaaaaaaaa to bbbbbbbbbbbb" in reason


def test_a_training_ran_because_it_starts_from_another_champion() -> None:
    reason = why(run(2, champion=2), run(1, champion=1))["pretrain"]
    assert "since run run-1: the result of plan " in reason
    assert reason.endswith(" (training starts from models:/shapes/2)")


def test_only_inputs_of_the_step_itself_are_reasons_and_where_it_runs_is_none() -> None:
    same = "Its inputs are those of run run-1: it runs every time, or the code"
    assert same in why(run(2, workers=2), run(1))["pretrain"]
    ingested = run(2, epochs=5)
    ingested.attempts[1] = ingested.attempts[1].model_copy(update={"outcome": "ran"})
    assert same in why(ingested, run(1))["ingest"], "ingestion does not read training.epochs"


def test_a_run_with_recorded_inputs_is_compared_with_one_of_an_older_release() -> None:
    reason = why(run(2, epochs=5), run(1, recorded=False))["pretrain"]
    assert reason.endswith("since run run-1: training.epochs 2 to 5")


def test_a_training_ran_because_it_was_forced_or_is_the_first_or_the_one_before_did_not_complete_it() -> None:
    assert "because `force` was set" in why(run(2, force=True), run(1))["pretrain"]
    assert "no earlier run of this flow and model is recorded" in why(run(2), None)["pretrain"]
    assert "run run-1 did not complete it" in why(run(2), run(1, pretrain="killed"))["pretrain"]
    assert "the code, the content of the source or a stored result changed" in why(run(2), run(1))["pretrain"]


def test_a_killed_step_says_so() -> None:
    assert why(run(2, pretrain="killed"), None)["pretrain"].endswith("Its process was killed")


def test_a_run_is_compared_with_the_newest_earlier_one_of_its_model() -> None:
    newest_first = [run(5), run(4, model="other"), run(3), run(2)]
    assert previous_run(run(5), newest_first) == run(3)
    assert previous_run(run(2), newest_first) is None
    # Without a name, a model has that of its dataset.
    assert previous_run(run(6, model=""), [run(5, model="parts"), run(4, model=DATA["name"])]) == run(
        4, model=DATA["name"]
    )


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("clothes/3", ("clothes", "3")),
        ("models:/clothes/3", ("clothes", "3")),
        ("clothes@champion", ("clothes", "@champion")),
        ("models:/clothes@champion", ("clothes", "@champion")),
        ("quick-fox", None),
        ("d6eb35c7-c49c-4e90-9785-69fa9ae72ad4", None),
    ],
)
def test_versions_and_runs_differ_in_how_they_are_written(text: str, version: tuple[str, str] | None) -> None:
    assert parse_version(text) == version
