"""Why a step ran: what changed since the last run of the same flow and model, or that a person asked for it."""

import pytest

from cl_core.report.costs import Outcome
from tasks.lineage.explain import reasons, run_before
from tasks.lineage.graph import version_named
from tasks.runtime.run_log import FlowRun, RunRecord, StepAttempt

DATA = {"source": "synthetic", "source_options": {"count": 400}}


def run(
    began: float,
    *,
    epochs: int = 2,
    snapshot: str = "a" * 64,
    model: str = "shapes",
    pretrain: Outcome = "ran",
    force: bool = False,
) -> RunRecord:
    parameters = {"model_name": model, "data": DATA, "training": {"epochs": epochs}, "force": force}
    attempts = [
        StepAttempt(step="preflight", began=began, outcome="ran"),
        StepAttempt(
            step="ingest",
            began=began,
            outcome="cached",
            messages=["the source has not changed"],
            result={"digest": snapshot},
        ),
        StepAttempt(
            step="pretrain",
            began=began,
            outcome=pretrain,
            messages=[] if pretrain == "running" else ["training took 12 steps"],
        ),
    ]
    return RunRecord(
        FlowRun(id=f"{began}", name=f"run-{began:.0f}", flow="retrain", parameters=parameters, began=began), attempts
    )


def why(account: RunRecord, earlier: RunRecord | None) -> dict[str, str]:
    return {cost.step: reason for cost, reason in reasons(account, earlier)}


def test_a_step_that_stood_says_what_it_said_then_and_one_without_a_result_is_done_each_time() -> None:
    told = why(run(2), run(1))
    assert told["ingest"] == "the source has not changed"
    assert told["preflight"] == "it has no result that could stand: it is done each time"


def test_a_step_at_work_says_so() -> None:
    assert why(run(2, pretrain="running"), run(1))["pretrain"] == "It is at work"


def test_a_training_ran_because_of_the_parameter_that_changed() -> None:
    assert why(run(2, epochs=5), run(1))["pretrain"] == (
        "training took 12 steps. It ran because of what changed since run run-1: training.epochs 2 to 5"
    )


def test_a_training_ran_because_the_snapshot_changed() -> None:
    told = why(run(2, snapshot="b" * 64), run(1))["pretrain"]
    assert told.endswith("since run run-1: the result of ingest aaaaaaaaaaaa to bbbbbbbbbbbb")


def test_a_training_ran_because_it_was_forced_or_is_the_first_or_the_one_before_did_not_end() -> None:
    assert "because force was asked for" in why(run(2, force=True), run(1))["pretrain"]
    assert "no run of this flow and model is known from before" in why(run(2), None)["pretrain"]
    assert "run run-1 did not come to its end here" in why(run(2), run(1, pretrain="killed"))["pretrain"]
    assert "the code, the source's content or a stored result did" in why(run(2), run(1))["pretrain"]


def test_a_killed_step_says_so() -> None:
    assert why(run(2, pretrain="killed"), None)["pretrain"].endswith("Its process was killed")


def test_a_run_is_compared_with_the_newest_earlier_one_of_its_model() -> None:
    newest_first = [run(5), run(4, model="other"), run(3), run(2)]
    assert run_before(run(5), newest_first) == run(3)
    assert run_before(run(2), newest_first) is None


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
def test_versions_and_runs_are_told_apart_by_how_they_are_written(text: str, version: tuple[str, str] | None) -> None:
    assert version_named(text) == version
