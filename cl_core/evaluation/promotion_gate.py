"""The gate: whether a challenger becomes the champion that users fetch, and why, in one sentence.

A pure function of the measurements. Whatever the champion is, a model must be better than its own encoder before
training and than the raw input, and must not map everything to one point.
"""

import math

from pydantic import Field

from cl_core.refs import EvaluationReport, Ref, Score
from cl_core.specs import PromotionSpec

# 1 is full collapse: all embeddings on one line. Working encoders use tens of directions.
LEAST_EFFECTIVE_RANK = 2.0
# Of a coordinate of unit embeddings: 0 at full collapse, 1 / sqrt(features) when spread evenly (0.02 at 2,048).
LEAST_FEATURE_STD = 1e-3


class Gains(Ref):
    """Paired differences of the deciding score on one test split: the challenger's minus the other's."""

    over_untrained: Score | None = Field(description="Gain over the same encoder before training; none without labels.")
    over_raw_pixels: Score | None = Field(description="Gain over the raw input; none without labels.")
    over_champion: Score | None = Field(
        description="Gain over the champion, both embedded in this run; none without a champion."
    )
    champion: int = Field(0, description="Version that `over_champion` compares with; 0 when there is none.")


class GateVerdict(Ref):
    """The decision of the gate, with its reason."""

    promote: bool
    reason: str


def judge(version: int, promotion: PromotionSpec, evaluation: EvaluationReport, gains: Gains) -> GateVerdict:
    """Decide whether the challenger passes, with the first reason against it or the number in its favor.

    The 95 % intervals of the gains decide.
    """
    objection = (
        _collapsed(evaluation)
        or _not_measured(promotion, evaluation)
        or _learned_nothing(promotion, gains)
        or _no_gain(promotion, gains)
    )
    if objection:
        return GateVerdict(promote=False, reason=f"version {version} is not promoted: {objection}")
    merit = _merit(promotion, evaluation, gains)
    if promotion.automatic:
        return GateVerdict(promote=True, reason=f"version {version} is promoted: {merit}")
    reason = f"version {version} would be promoted: {merit}; automatic promotion is off"
    return GateVerdict(promote=False, reason=reason)


def _collapsed(evaluation: EvaluationReport) -> str:
    scores = evaluation.trained.scores
    least = {"geometry.effective_rank": LEAST_EFFECTIVE_RANK, "geometry.feature_std": LEAST_FEATURE_STD}
    for name, bound in least.items():
        # Not a number is a collapse too: hence "not at least", where "less than" would let it pass.
        if name in scores and not scores[name].value >= bound:
            return f"its embeddings have collapsed ({name} {scores[name].value:.3g}, at least {bound:g} wanted)"
    return ""


def _not_measured(promotion: PromotionSpec, evaluation: EvaluationReport) -> str:
    scores = evaluation.trained.scores
    if promotion.score in scores:
        return "" if math.isfinite(scores[promotion.score].value) else f"its {promotion.score} is not a finite number"
    return (
        f"the deciding score {promotion.score} was not measured (there are: {', '.join(sorted(scores)) or 'none'}); "
        "without it, as with data that have no labels, only a person promotes"
    )


def _learned_nothing(promotion: PromotionSpec, gains: Gains) -> str:
    baselines = {"the untrained encoder": gains.over_untrained, "raw pixels": gains.over_raw_pixels}
    for baseline, gain in baselines.items():
        if gain is None:
            return f"it was not compared with {baseline} on {promotion.score}"
        if not gain.low > 0:
            return f"{promotion.score} is not proven better than that of {baseline}: difference {_signed(gain)}"
    return ""


def _no_gain(promotion: PromotionSpec, gains: Gains) -> str:
    if not gains.champion:
        return ""
    if gains.over_champion is None:
        return f"it was not compared with the champion, version {gains.champion}, on {promotion.score}"
    if not gains.over_champion.low > -promotion.tolerance:
        return (
            f"its gain in {promotion.score} over the champion, version {gains.champion}, is "
            f"{_signed(gains.over_champion)}, but the interval must lie above {-promotion.tolerance:g}"
        )
    return ""


def _merit(promotion: PromotionSpec, evaluation: EvaluationReport, gains: Gains) -> str:
    score = evaluation.trained.scores[promotion.score]
    reached = f"{promotion.score} is {score.value:.4f} [{score.low:.4f}, {score.high:.4f}]"
    if gains.over_champion is None:
        assert gains.over_raw_pixels is not None
        return f"{reached}, {_signed(gains.over_raw_pixels)} over raw pixels, and there was no champion"
    return f"{reached}, {_signed(gains.over_champion)} over the champion, version {gains.champion}"


def _signed(gain: Score) -> str:
    return f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
