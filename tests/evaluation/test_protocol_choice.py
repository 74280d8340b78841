"""What the labels of a snapshot allow to be evaluated, known before anything is trained."""

import pytest

from cl_core.errors import DataError, SpecError
from cl_core.evaluation.protocol_choice import check_deciding_score, choose_protocols, protocols
from cl_core.evaluation.protocols import EvaluatedData
from cl_core.refs import LeftOut
from cl_core.specs import EvaluationSpec


def labels(*, train: int, test: int) -> EvaluatedData:
    """Labels of two classes; the rarer one has a tenth."""
    return EvaluatedData(*({"common": count - count // 10, "rare": count // 10} for count in (train, test)))


@pytest.mark.parametrize(
    ("labeled", "code"),
    [
        ({"train": 300, "test": 0}, "no_test_labels"),
        ({"train": 0, "test": 60}, "no_training_labels"),
        ({"train": 0, "test": 0}, "no_labels"),
    ],
)
def test_protocols_that_need_labels_are_left_out_where_a_split_has_none(labeled: dict[str, int], code: str) -> None:
    choice = choose_protocols(EvaluationSpec(), labels(**labeled))
    assert list(choice.running) == ["geometry"]
    assert choice.left_out == [LeftOut(code=code, protocol=name) for name in ("linear_probe", "knn")]


def test_with_labels_in_both_splits_all_protocols_run() -> None:
    choice = choose_protocols(EvaluationSpec(), labels(train=300, test=1))
    assert (list(choice.running), choice.left_out) == (["linear_probe", "knn", "geometry"], [])


def test_default_neighbors_are_reduced_and_reported() -> None:
    choice = choose_protocols(EvaluationSpec(), labels(train=60, test=10))
    assert choice.deciding_scores == ["linear_probe.accuracy", "knn_20.accuracy"]
    assert choice.adapted == [
        (
            "evaluation.options.knn.ks: 20 in place of the default 20 and 200: there are 60 labeled training samples, "
            "6 of the rarest class"
        )
    ]


def test_default_numbers_of_labels_are_those_of_the_rarest_class() -> None:
    choice = choose_protocols(EvaluationSpec(protocols=["few_labels"]), labels(train=500, test=10))
    assert choice.running["few_labels"].per_class == (1, 10)
    assert choice.adapted == [
        (
            "evaluation.options.few_labels.per_class: 1 and 10 in place of the default 1, 10 and 100: there are 500 "
            "labeled training samples, 50 of the rarest class"
        )
    ]


def test_given_numbers_of_labels_that_a_class_lacks_are_refused_before_the_training() -> None:
    given = EvaluationSpec(protocols=["few_labels"], options={"few_labels": {"per_class": [1, 51]}})
    with pytest.raises(SpecError) as caught:
        choose_protocols(given, labels(train=500, test=10))
    assert str(caught.value) == (
        "evaluation.options.few_labels.per_class: 51 labels of each class requested, but the rarest class has 50 "
        "training samples; choose fewer, or leave few_labels out"
    )


def test_given_neighbors_that_do_not_fit_are_refused() -> None:
    given = EvaluationSpec(options={"knn": {"ks": [20, 200]}})
    assert choose_protocols(given, labels(train=200, test=10)).adapted == []
    with pytest.raises(SpecError) as caught:
        choose_protocols(given, labels(train=199, test=10))
    assert str(caught.value) == (
        "evaluation.options.knn.ks: 200 neighbors requested, but the training split has only 199 labeled samples; "
        "choose at most 199"
    )


def test_a_single_label_is_refused_by_the_linear_probe() -> None:
    with pytest.raises(DataError, match="besides its validation part; got 1 labeled training sample"):
        choose_protocols(EvaluationSpec(), labels(train=1, test=10))


def test_a_deciding_score_that_is_not_measured_is_refused_with_those_that_are() -> None:
    choice = choose_protocols(EvaluationSpec(), labels(train=60, test=10))
    check_deciding_score("knn_20.accuracy", choice, labels(train=60, test=10))
    with pytest.raises(SpecError) as caught:
        check_deciding_score("knn_200.accuracy", choice, labels(train=60, test=10))
    assert str(caught.value) == (
        "promotion.score: 'knn_200.accuracy' cannot decide: with 60 labeled training samples it is not measured; "
        "choose one of: linear_probe.accuracy, knn_20.accuracy"
    )


def test_without_labels_any_deciding_score_is_accepted_since_a_person_decides() -> None:
    choice = choose_protocols(EvaluationSpec(), labels(train=60, test=0))
    assert choice.deciding_scores == []
    check_deciding_score("knn_200.accuracy", choice, labels(train=60, test=10))


def test_every_protocol_says_under_which_names_it_predicts() -> None:
    names = [protocol.predictors for protocol in protocols(EvaluationSpec()).values()]
    assert names == [("linear_probe",), ("knn_20", "knn_200"), ()]


def test_a_search_in_which_no_sample_has_another_of_its_class_is_refused_before_the_training() -> None:
    alone = EvaluatedData({"a": 300}, {"a": 1, "b": 1})
    with pytest.raises(DataError, match="two test samples or more; each of the 2 classes has at most one"):
        choose_protocols(EvaluationSpec(protocols=["retrieval"]), alone)


def test_a_search_by_group_needs_groups_and_no_labels() -> None:
    by_group = EvaluationSpec(protocols=["retrieval", "knn"], options={"retrieval": {"by": "group"}})
    choice = choose_protocols(by_group, EvaluatedData({}, {}, grouped=True))
    assert (list(choice.running), [one.protocol for one in choice.left_out]) == (["retrieval"], ["knn"])
    assert "retrieval.recall_at_1" in (choice.deciding_scores or [])
    with pytest.raises(DataError, match=r"by: 'group' needs samples with groups, and data\.group is not set"):
        choose_protocols(by_group, EvaluatedData({}, {}))
