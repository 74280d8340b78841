"""What the labels of a snapshot allow to be evaluated, known before anything is trained."""

import pytest

from cl_core.evaluation.protocol_choice import choose_protocols
from cl_core.specs import EvaluationSpec


@pytest.mark.parametrize(
    ("labeled", "reason"),
    [
        ({"train": 300, "test": 0}, "the test split has no labels"),
        ({"train": 0, "test": 60}, "the training split has no labels"),
        ({"train": 0, "test": 0}, "the data have no labels"),
    ],
)
def test_protocols_that_need_labels_are_left_out_where_a_split_has_none(labeled: dict[str, int], reason: str) -> None:
    choice = choose_protocols(EvaluationSpec(), labeled=labeled)
    assert (list(choice.running), choice.left_out, choice.reason) == (["geometry"], ["linear_probe", "knn"], reason)


def test_with_labels_in_both_splits_all_protocols_run() -> None:
    choice = choose_protocols(EvaluationSpec(), labeled={"train": 300, "test": 1})
    assert (list(choice.running), choice.left_out, choice.reason) == (["linear_probe", "knn", "geometry"], [], "")
