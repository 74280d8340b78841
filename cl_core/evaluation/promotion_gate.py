"""The gate: whether a challenger becomes the champion that users fetch, and why, in one sentence.

A pure function of the measurements. Whatever the champion is, a model must be better than its own encoder before
training and than the raw input, and must not map everything to one point.
"""

import math
from collections.abc import Iterator

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
    over_baseline: Score | None = Field(description="Gain over features without an encoder; none without labels.")
    baseline: str = Field(description="What these features are, such as raw pixels.")
    over_champion: Score | None = Field(
        description="Gain over the champion, both embedded in this run; none without a champion."
    )
    champion: int = Field(0, description="Version that `over_champion` compares with; 0 when there is none.")
    not_comparable: str = Field("", description="Why the champion cannot be compared with, and what to do.")


class GateVerdict(Ref):
    """The decision of the gate, with its reason."""

    promote: bool
    reason: str


def judge(version: int, promotion: PromotionSpec, evaluation: EvaluationReport, gains: Gains) -> GateVerdict:
    """Decide whether the challenger passes, with the first reason against it or the number in its favor.

    The 95 % intervals of the gains decide.
    """
    if objection := next(_objections(promotion, evaluation, gains), ""):
        return GateVerdict(promote=False, reason=f"version {version} is not promoted: {objection}")
    merit = _merit(promotion, evaluation, gains)
    if promotion.automatic:
        return GateVerdict(promote=True, reason=f"version {version} is promoted: {merit}")
    reason = f"version {version} would be promoted: {merit}; automatic promotion is off"
    return GateVerdict(promote=False, reason=reason)


def _objections(promotion: PromotionSpec, evaluation: EvaluationReport, gains: Gains) -> Iterator[str]:
    """Yield what speaks against the challenger: collapse, no score, nothing learned, no gain."""
    scores = evaluation.trained.scores
    least = {"geometry.effective_rank": LEAST_EFFECTIVE_RANK, "geometry.feature_std": LEAST_FEATURE_STD}
    for name, bound in least.items():
        # Not a number is a collapse too: hence "not at least", where "less than" would let it pass.
        if name in scores and not scores[name].value >= bound:
            yield f"its embeddings have collapsed ({name} {scores[name].value:.3g}, at least {bound:g} wanted)"
    if promotion.score not in scores:
        present = ", ".join(sorted(scores)) or "none"
        yield (
            f"the deciding score {promotion.score} was not measured (there are: {present}); "
            "without it, as with data that have no labels, only a person promotes"
        )
    elif not math.isfinite(scores[promotion.score].value):
        yield f"its {promotion.score} is not a finite number"
    baselines = {"the untrained encoder": gains.over_untrained, gains.baseline: gains.over_baseline}
    for baseline, gain in baselines.items():
        if gain is None:
            yield f"it was not compared with {baseline} on {promotion.score}"
        elif not gain.low > 0:
            yield f"{promotion.score} is not proven better than that of {baseline}: difference {_signed(gain)}"
    if gains.champion and gains.over_champion is None:
        why = f": {gains.not_comparable}" if gains.not_comparable else ""
        yield f"it was not compared with the champion, version {gains.champion}, on {promotion.score}{why}"
    elif gains.champion and gains.over_champion and not gains.over_champion.low > -promotion.tolerance:
        yield (
            f"its gain in {promotion.score} over the champion, version {gains.champion}, is "
            f"{_signed(gains.over_champion)}, but the interval must lie above {-promotion.tolerance:g}"
        )


def _merit(promotion: PromotionSpec, evaluation: EvaluationReport, gains: Gains) -> str:
    score = evaluation.trained.scores[promotion.score]
    reached = f"{promotion.score} is {score.value:.4f} [{score.low:.4f}, {score.high:.4f}]"
    if gains.over_champion is None:
        assert gains.over_baseline is not None
        return f"{reached}, {_signed(gains.over_baseline)} over {gains.baseline}, and there was no champion"
    return f"{reached}, {_signed(gains.over_champion)} over the champion, version {gains.champion}"


def _signed(gain: Score) -> str:
    return f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
