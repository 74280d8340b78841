"""The table of several recipes: one line each, with the interval of one seed or the spread of several."""

from pathlib import Path

import pytest
from registering import evaluation

from cl_core.errors import SpecError
from cl_core.refs import CheckpointRef, Decision, ModelRef, ReportRef, RetrainResult, SnapshotRef
from cl_core.report.comparison import comparison_markdown
from flows.compare import _with_seeds, compare


def result(accuracy: float, *, minutes: float = 1.0) -> RetrainResult:
    return RetrainResult(
        snapshot=SnapshotRef(name="a", digest="5" * 64, path=Path("/a"), rows={}, classes=[], quarantined=0),
        checkpoint=CheckpointRef(
            digest="c" * 64,
            path=Path("/c"),
            step=1,
            snapshot_digest="5" * 64,
            resumed_from_step=0,
            seconds=60 * minutes,
            peak_bytes=2**30,
        ),
        evaluation=evaluation(accuracy=accuracy),
        model=ModelRef(name="a", version=1, uri="models:/a/1", run_id="r", training_digest="c" * 64, created=True),
        decision=Decision(name="a", version=1, champion=0, promoted=False, reason="none"),
        report=ReportRef(path=Path("/r")),
    )


def test_of_one_seed_a_score_has_its_interval_and_of_several_mean_deviation_and_range() -> None:
    seeds = [result(0.86, minutes=1), result(0.87, minutes=2), result(0.90, minutes=3)]
    lines = comparison_markdown({"one": [result(0.8)], "three": seeds}).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
    # Standard deviation of 0.86, 0.87 and 0.90 with two degrees of freedom: sqrt((0.0169 + 0.0049 + 0.0529) / 2) / 10.
    assert rows[0][:2] == ["`three`, 3 seeds", "0.877 ± 0.0208 (0.860 to 0.900)"]
    assert rows[0][4:] == ["2.0", "1.0"]
    assert rows[1][:2] == ["`one`", "0.800 [0.790, 0.810]"]
    # Both have the same baselines but for the number of seeds.
    assert {row[0] for row in rows[2:]} == {"the same encoder, untrained", "raw pixels"}


def test_there_is_a_column_for_each_score_that_was_measured() -> None:
    of_pairs = result(0.5)
    scores = {"pair_retrieval.recall_at_10": of_pairs.evaluation.trained.scores["linear_probe.accuracy"]}
    trained = of_pairs.evaluation.trained.model_copy(update={"scores": scores})
    report = of_pairs.evaluation.model_copy(update={"representations": {"trained": trained}})
    head, _, row = comparison_markdown({"pairs": [of_pairs.model_copy(update={"evaluation": report})]}).splitlines()
    assert head.startswith("| recipe | pairs, recall at 10 | uniformity |")
    assert row.startswith("| `pairs` | 0.500 [0.490, 0.510] |")


def test_each_seed_trains_the_recipe_and_promotes_nothing() -> None:
    recipe = {"training": {"method": "moco_v2", "seed": 9}, "promotion": {"score": "knn_20.accuracy"}}
    assert _with_seeds(recipe, []) == [recipe]
    assert _with_seeds(recipe, [0, 4]) == [
        {
            "training": {"method": "moco_v2", "seed": seed},
            "promotion": {"score": "knn_20.accuracy", "automatic": False},
        }
        for seed in (0, 4)
    ]


def test_a_seed_that_is_given_twice_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^seeds: \[1, 1\] has one twice"):
        compare.fn([], seeds=[1, 1])
