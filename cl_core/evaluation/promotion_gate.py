"""The gate: whether a challenger becomes the champion that users fetch, and why.

A pure function of the measurements. Whatever the champion is, a model must be better than its own encoder before
training and than the raw input, and must not map everything to one point.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

from pydantic import Field

from cl_core.refs import DecisionReason, EvaluationReport, NotComparable, Ref, Score
from cl_core.specs import PromotionSpec

# 1 is full collapse: all embeddings on one line. Working encoders use tens of directions.
LEAST_EFFECTIVE_RANK = 2.0
# Of a coordinate of unit embeddings: 0 at full collapse, 1 / sqrt(features) when spread evenly (0.02 at 2,048).
LEAST_FEATURE_STD = 1e-3


class Gains(Ref):
    """Paired differences of the deciding score on one test split: the challenger's minus the other's."""

    over_untrained: Score | None = Field(description="Gain over the same encoder before training; none without labels.")
    over_baseline: Score | None = Field(description="Gain over features without an encoder; none without labels.")
    baseline: str = Field(description="What these features are, such as raw_pixels; empty if they have no such score.")
    over_champion: Score | None = Field(
        description="Gain over the champion, both embedded in this run; none without a champion."
    )
    champion: int = Field(0, description="Version that `over_champion` compares with; 0 when there is none.")
    not_comparable: NotComparable | None = Field(None, description="Why the champion cannot be compared with.")

    @property
    def over_baselines(self) -> dict[str, Score | None]:
        """The gains over what a version must be better than, whoever the champion is."""
        gains = {"untrained": self.over_untrained}
        return gains | {self.baseline: self.over_baseline} if self.baseline else gains


class GateVerdict(Ref):
    """The decision of the gate, with its reason."""

    promote: bool
    reason: DecisionReason


def judge(promotion: PromotionSpec, evaluation: EvaluationReport, gains: Gains) -> GateVerdict:
    """Decide whether the challenger passes, with the first reason against it or the number in its favor.

    The 95 % intervals of the gains decide. Without automatic promotion, a version that passes is not promoted either.
    """
    if objection := next(_objections(promotion, evaluation, gains), None):
        return GateVerdict(promote=False, reason=objection)
    *_, (baseline, gain) = gains.over_baselines.items()
    other: dict[str, Any] = {"baseline": baseline, "gain": gain}
    if gains.over_champion:
        other = {"champion": gains.champion, "gain": gains.over_champion}
    reached = evaluation.trained.scores[promotion.score]
    reason = DecisionReason(code="better", score=promotion.score, reached=reached, **other)
    return GateVerdict(promote=promotion.automatic, reason=reason)


def finite(score: Score | None) -> Score | None:
    """Return a score that JSON can hold: none in place of one that is not a number."""
    return score if score and all(map(math.isfinite, (score.value, score.low, score.high))) else None


def _objections(promotion: PromotionSpec, evaluation: EvaluationReport, gains: Gains) -> Iterator[DecisionReason]:
    """Yield what speaks against the challenger: collapse, no score, nothing learned, no gain."""
    scores = evaluation.trained.scores
    least = {"geometry.effective_rank": LEAST_EFFECTIVE_RANK, "geometry.feature_std": LEAST_FEATURE_STD}
    for name, bound in least.items():
        # Not a number is a collapse too: hence "not at least", where "less than" would let it pass.
        if name in scores and not scores[name].value >= bound:
            yield DecisionReason(code="collapsed", score=name, reached=finite(scores[name]), least=bound)
    refused = partial(DecisionReason, score=promotion.score)
    if promotion.score not in scores:
        yield refused(code="not_measured", measured=sorted(scores))
    elif not math.isfinite(scores[promotion.score].value):
        yield refused(code="not_finite")
    for baseline, gain in gains.over_baselines.items():
        if gain is None:
            yield refused(code="not_compared", baseline=baseline)
        elif not gain.low > 0:
            yield refused(code="not_better", baseline=baseline, gain=finite(gain))
    champion, gain = gains.champion, gains.over_champion
    if champion and gain is None:
        yield refused(code="not_compared", champion=champion, not_comparable=gains.not_comparable)
    elif champion and gain and not gain.low > -promotion.tolerance:
        yield refused(
            code="not_better", champion=champion, gain=finite(gain), least=0 - promotion.tolerance
        )  # Never -0.
