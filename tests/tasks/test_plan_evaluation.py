"""What a run says about its evaluation before it trains."""

from pathlib import Path

import pytest
from labels import with_labels
from prefect.logging import disable_run_logger

from cl_core.errors import SpecError
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
    by_hand = "no protocol measures linear_probe.accuracy, so only a person promotes the version"
    assert lines(unlabeled, EvaluationSpec(), PromotionSpec()) == [left_out, by_hand]
    assert lines(unlabeled, EvaluationSpec()) == [left_out]
    assert lines(unlabeled, EvaluationSpec(protocols=["geometry"]), PromotionSpec()) == [by_hand]


def test_few_labels_are_reported_with_the_neighbors_taken_or_refuse_the_score(
    snapshot: SnapshotRef, lines, tmp_path: Path
) -> None:
    few = with_labels(snapshot, tmp_path, train={"circle": 30, "square": 30})
    assert lines(few, EvaluationSpec(), PromotionSpec(score="knn_20.accuracy")) == [
        (
            "evaluation.options.knn.ks: 20 in place of the default 20 and 200: there are 60 labeled training samples, "
            "30 of the rarest class"
        )
    ]
    with pytest.raises(SpecError, match=r"^promotion\.score: 'knn_200.accuracy' cannot decide: with 60 labeled"):
        lines(few, EvaluationSpec(), PromotionSpec(score="knn_200.accuracy"))
    assert lines(snapshot, EvaluationSpec(), PromotionSpec(score="knn_200.accuracy")) == []
