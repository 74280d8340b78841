import math
from pathlib import Path

import pytest

from cl_core.evaluation.promotion_gate import Gains, judge
from cl_core.refs import EvaluationReport, RepresentationReport, Score
from cl_core.specs import PromotionSpec

PROVEN = Score(value=0.05, low=0.02, high=0.08)
UNPROVEN = Score(value=0.05, low=-0.01, high=0.11)
EVEN = Score(value=0.0, low=-0.01, high=0.01)


def promotion(**changed):
    fields = {"automatic": True, "score": "linear_probe.accuracy", "tolerance": 0.0}
    return PromotionSpec(**(fields | changed))


def evaluation(**scores):
    values = {"linear_probe.accuracy": 0.9, "geometry.effective_rank": 20.0} | scores
    found = {name: Score(value=value, low=value, high=value) for name, value in values.items() if value is not None}
    trained = RepresentationReport(scores=found, per_class={}, confusion=[], choices={})
    return EvaluationReport(
        digest="e",
        training_digest="t",
        snapshot_digest="s",
        path=Path("/nowhere"),
        representations={"trained": trained},
        left_out=[],
    )


def gains(untrained=PROVEN, raw_pixels=PROVEN, over_champion=None, champion=0, not_comparable=""):
    return Gains(
        over_untrained=untrained,
        over_baseline=raw_pixels,
        baseline="raw pixels",
        over_champion=over_champion,
        champion=champion,
        not_comparable=not_comparable,
    )


def test_the_first_version_that_beats_both_baselines_is_promoted():
    verdict = judge(1, promotion(), evaluation(), gains())
    assert verdict.promote
    assert verdict.reason == (
        "version 1 is promoted: linear_probe.accuracy is 0.9000 [0.9000, 0.9000], "
        "+0.0500 [+0.0200, +0.0800] over raw pixels, and there was no champion"
    )


@pytest.mark.parametrize(("baseline", "name"), [("untrained", "the untrained encoder"), ("raw_pixels", "raw pixels")])
@pytest.mark.parametrize("gain", [UNPROVEN, EVEN, Score(value=0.1, low=0.0, high=0.2)])
def test_a_version_not_proven_better_than_a_baseline_is_refused(baseline, name, gain):
    verdict = judge(3, promotion(tolerance=1.0), evaluation(), gains(**{baseline: gain}))
    assert not verdict.promote
    assert f"not proven better than that of {name}" in verdict.reason


def test_a_version_that_was_not_compared_is_refused():
    assert "not compared with raw pixels" in judge(1, promotion(), evaluation(), gains(raw_pixels=None)).reason
    verdict = judge(4, promotion(), evaluation(), gains(champion=3))
    assert not verdict.promote and "not compared with the champion, version 3" in verdict.reason
    why = gains(champion=3, not_comparable="it is a")
    assert judge(4, promotion(), evaluation(), why).reason.endswith(
        "it was not compared with the champion, version 3, on linear_probe.accuracy: it is a"
    )


@pytest.mark.parametrize(
    ("gain", "tolerance", "promoted"),
    [(PROVEN, 0.0, True), (EVEN, 0.0, False), (EVEN, 0.01, False), (EVEN, 0.011, True), (UNPROVEN, 0.02, True)],
)
def test_the_interval_of_the_gain_over_the_champion_has_to_lie_above_minus_the_tolerance(gain, tolerance, promoted):
    verdict = judge(4, promotion(tolerance=tolerance), evaluation(), gains(over_champion=gain, champion=3))
    assert verdict.promote is promoted
    assert "over the champion, version 3" in verdict.reason


@pytest.mark.parametrize(
    "collapsed", [{"geometry.effective_rank": 1.02}, {"geometry.effective_rank": math.nan}, {"geometry.feature_std": 0}]
)
def test_a_collapsed_version_is_refused_whatever_its_scores(collapsed):
    verdict = judge(2, promotion(), evaluation(**collapsed), gains())
    assert not verdict.promote and "collapsed" in verdict.reason


def test_without_labels_only_a_person_promotes():
    verdict = judge(2, promotion(), evaluation(**{"linear_probe.accuracy": None}), gains(None, None))
    assert not verdict.promote
    assert "linear_probe.accuracy was not measured (there are: geometry.effective_rank)" in verdict.reason
    assert "only a person promotes" in verdict.reason


def test_a_score_that_is_not_finite_is_refused():
    verdict = judge(2, promotion(), evaluation(**{"linear_probe.accuracy": math.nan}), gains())
    assert not verdict.promote and "not a finite number" in verdict.reason


def test_with_automatic_promotion_off_the_verdict_is_only_said():
    verdict = judge(2, promotion(automatic=False), evaluation(), gains())
    assert not verdict.promote
    assert verdict.reason.startswith("version 2 would be promoted: ")
    assert verdict.reason.endswith("; automatic promotion is off")
