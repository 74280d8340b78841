import math
from pathlib import Path

import pytest

from cl_core.evaluation.promotion_gate import Gains, judge
from cl_core.refs import (
    ComparisonReason,
    DecisionReason,
    EvaluationReport,
    NotComparable,
    RepresentationReport,
    Score,
)
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


def gains(untrained=PROVEN, raw_pixels=PROVEN, over_champion=None, champion=0, not_comparable=None):
    return Gains(
        over_untrained=untrained,
        over_baseline=raw_pixels,
        baseline="raw_pixels",
        over_champion=over_champion,
        champion=champion,
        not_comparable=not_comparable,
    )


def test_the_first_version_that_beats_both_baselines_is_promoted():
    verdict = judge(promotion(), evaluation(), gains())
    assert verdict.promote
    assert verdict.reason == DecisionReason(
        code="better",
        score="linear_probe.accuracy",
        reached=Score(value=0.9, low=0.9, high=0.9),
        baseline="raw_pixels",
        gain=PROVEN,
    )


@pytest.mark.parametrize("baseline", ["untrained", "raw_pixels"])
@pytest.mark.parametrize("gain", [UNPROVEN, EVEN, Score(value=0.1, low=0.0, high=0.2)])
def test_a_version_not_proven_better_than_a_baseline_is_refused(baseline, gain):
    verdict = judge(promotion(tolerance=1.0), evaluation(), gains(**{baseline: gain}))
    assert not verdict.promote
    assert (verdict.reason.code, verdict.reason.baseline, verdict.reason.gain) == ("not_better", baseline, gain)


def test_a_gain_that_is_not_a_number_proves_nothing_and_is_none_in_the_reason():
    unknown = Score(value=math.nan, low=math.nan, high=math.nan)
    verdict = judge(promotion(), evaluation(), gains(untrained=unknown))
    assert not verdict.promote
    assert (verdict.reason.code, verdict.reason.gain) == ("not_better", None)


def test_a_version_that_was_not_compared_is_refused():
    refused = judge(promotion(), evaluation(), gains(raw_pixels=None))
    assert not refused.promote
    assert (refused.reason.code, refused.reason.baseline) == ("not_compared", "raw_pixels")
    why = NotComparable(version=3, uri="models:/n/3", reason=ComparisonReason(code="not_one_array"))
    for not_comparable in (None, why):
        refused = judge(promotion(), evaluation(), gains(champion=3, not_comparable=not_comparable))
        assert not refused.promote
        assert (refused.reason.code, refused.reason.champion) == ("not_compared", 3)
        assert refused.reason.not_comparable == not_comparable


@pytest.mark.parametrize(
    ("gain", "tolerance", "promoted"),
    [(PROVEN, 0.0, True), (EVEN, 0.0, False), (EVEN, 0.01, False), (EVEN, 0.011, True), (UNPROVEN, 0.02, True)],
)
def test_the_interval_of_the_gain_over_the_champion_has_to_lie_above_minus_the_tolerance(gain, tolerance, promoted):
    verdict = judge(promotion(tolerance=tolerance), evaluation(), gains(over_champion=gain, champion=3))
    assert verdict.promote is promoted
    assert verdict.reason.code == ("better" if promoted else "not_better")
    assert (verdict.reason.champion, verdict.reason.gain) == (3, gain)
    assert verdict.reason.least == (0 if promoted else -tolerance)


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("geometry.effective_rank", 1.02, 2), ("geometry.effective_rank", math.nan, 2), ("geometry.feature_std", 0, 1e-3)],
)
def test_a_collapsed_version_is_refused_whatever_its_scores(name, value, least):
    verdict = judge(promotion(), evaluation(**{name: value}), gains())
    assert not verdict.promote
    reached = None if math.isnan(value) else Score(value=value, low=value, high=value)
    assert verdict.reason == DecisionReason(code="collapsed", score=name, reached=reached, least=least)


def test_without_labels_only_a_person_promotes():
    verdict = judge(promotion(), evaluation(**{"linear_probe.accuracy": None}), gains(None, None))
    assert not verdict.promote
    assert verdict.reason == DecisionReason(
        code="not_measured", score="linear_probe.accuracy", measured=["geometry.effective_rank"]
    )


def test_a_score_that_is_not_finite_is_refused():
    verdict = judge(promotion(), evaluation(**{"linear_probe.accuracy": math.nan}), gains())
    assert not verdict.promote
    assert verdict.reason == DecisionReason(code="not_finite", score="linear_probe.accuracy")


def test_with_automatic_promotion_off_the_version_is_not_promoted_for_the_same_reason():
    verdict = judge(promotion(automatic=False), evaluation(), gains())
    assert not verdict.promote
    assert verdict.reason == judge(promotion(), evaluation(), gains()).reason
