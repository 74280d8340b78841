"""What a run says about its evaluation before it trains."""

from pathlib import Path

import pytest
from labels import with_labels
from prefect.logging import disable_run_logger

from cl_core.refs import SnapshotRef
from cl_core.specs import EvaluationSpec, PromotionSpec
from tasks.evaluation import plan_evaluation


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]):
    def plan(snapshot: SnapshotRef, *specs: EvaluationSpec | PromotionSpec) -> list[str]:
        with disable_run_logger():
            plan_evaluation.fn(snapshot, *specs)
        return [line.strip() for line in capsys.readouterr().err.splitlines()]

    return plan


def test_a_test_split_without_labels_is_reported_with_what_it_leaves_out(
    snapshot: SnapshotRef, lines, tmp_path: Path
) -> None:
    unlabeled = with_labels(snapshot, tmp_path, test={})
    left_out = "the test split has no labels: linear_probe and knn will be left out"
    assert lines(unlabeled, EvaluationSpec(), PromotionSpec()) == [
        left_out,
        "without linear_probe.accuracy, only a person promotes the version",
    ]
    assert lines(unlabeled, EvaluationSpec()) == [left_out]
    assert lines(unlabeled, EvaluationSpec(protocols=["geometry"]), PromotionSpec()) == []
