"""The ways in which a training can learn nothing: the signs of each, its name, and the remedies.

A loss alone shows little. Pulled together, all embeddings satisfy a loss without negatives; a wrong mask makes a
loss fall while nothing is learned; and a loss may stay for long at its trivial value and
still recover. So each rule requires several metrics at once, at every check of a window.

The bounds lie between what healthy and sabotaged trainings showed, at two sizes; the tests repeat both.
"""

import math
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import NamedTuple

from cl_core.training.health.metrics import Health

# Standard deviation of a coordinate of unit embeddings, as a share of 1 / sqrt(D): too low in any case, and too low
# where positives have moved apart besides. Healthy windows reach 0.3 and more at temperatures from 0.1, 0.2 at 0.03,
# 0.14 at 0.01. Collapsed trainings pass the second bound after 10 to 60 steps, the first after 20 to 160.
_LEAST_STD = 0.1
_LOW_STD = 0.2
# Directions: one, and this share of the others that there are, up to a bound. Healthy windows reach 2.4 of 8, 6 of 64;
# embeddings on a line 1, in a plane 1.8 to 2.
_LEAST_SHARE_OF_DIRECTIONS = 0.02
_LEAST_DIRECTIONS = 2.5
# Of the plateau, and of the correlation at the start. With a row as its own positive the loss falls to 0.2 or 0.3 of
# the plateau, and the correlation to 0.7 and less; healthy losses do not fall so far before it has risen.
_FALLEN_TO = 0.8
_LESS_THAN_AT_START = 0.75
# Around the plateau: the window's mean, and each loss. With positives from wrong rows, within 0.004 and 0.01. SwAV and
# MoCo stay as near for a hundred healthy steps, with 2.5 times and more of the correlation at the start.
_MEAN_NEAR_PLATEAU = 0.005
_EACH_NEAR_PLATEAU = 0.02
_MORE_THAN_AT_START = 1.25
# Times the plateau, and above it. A temperature of 0.001: 2 plateaus; a queue of raw rows: 2 to 300; healthy windows
# 1.1. The second bound is for margins, plateaus of tenths that the hardest triplets exceed several times.
_RISEN_TO = 1.5
_RISEN_BY = 2.0
# Times the first loss, up or down: a loss that has moved less has not begun to be learned.
_MOVED = 1.5


class MetricsSnapshot(NamedTuple):
    """Loss and metrics after a step."""

    step: int
    loss: float
    health: Health
    metrics: dict[str, float]  # The method's own.

    @property
    def figures(self) -> dict[str, float]:
        """The displayed metrics, by name."""
        shown = self.health._asdict()
        del shown["dimensions"], shown["groups"]
        return {**shown, **self.metrics}


class CollapseReport(NamedTuple):
    """The kind of collapse and its remedies."""

    what: str
    advice: str


class Seen(NamedTuple):
    """The inputs of the rules."""

    first: MetricsSnapshot
    window: list[MetricsSnapshot]
    trivial_losses: Mapping[str, float]
    left: float  # Of the training, in windows.

    @property
    def losses(self) -> list[float]:
        """Losses of the window."""
        return [check.loss for check in self.window]

    @property
    def correlation(self) -> float:
        """Intraclass correlation of positives, mean over the window."""
        return fmean(check.health.intraclass_correlation for check in self.window)

    @property
    def plateau(self) -> str:
        """Name of the trivial solution whose loss the training stays at; empty if none."""
        for name, value in self.trivial_losses.items():
            off = [loss / value - 1 for loss in self.losses] if value > 0 else [math.inf]
            if abs(fmean(off)) <= _MEAN_NEAR_PLATEAU and max(map(abs, off)) <= _EACH_NEAR_PLATEAU:
                return f"the loss stays at {fmean(self.losses):.4g}, its value when {name} ({value:.4g})"
        return ""


def _constant(seen: Seen) -> CollapseReport | None:
    most = max(check.health.feature_std * math.sqrt(check.health.dimensions) for check in seen.window)
    apart = seen.correlation < _LESS_THAN_AT_START * seen.first.health.intraclass_correlation
    if most >= (_LOW_STD if apart else _LEAST_STD):
        return None
    return CollapseReport(
        f"all embeddings are nearly equal: the standard deviation of a coordinate is at most {most:.2g} of "
        f"1 / sqrt(D); a healthy training has at least {_LOW_STD}" + (seen.plateau and f"; {seen.plateau}"),
        "Nothing keeps embeddings apart: the learning rate is too high, the temperature far too low, the hardest "
        "triplets are mined too early, a layer is dead, or negatives, stop-gradient or predictor are missing. Lower "
        "training.learning_rate, lengthen training.warmup_epochs, or change training.loss_options: a temperature of "
        "0.1 to 0.5, semi-hard mining",
    )


def _few_directions(seen: Seen) -> CollapseReport | None:
    most = max(check.health.effective_rank for check in seen.window)
    # Classes that are each drawn to a point, as they should be, use one direction less than there are classes.
    there_are = min(min(check.health.dimensions, check.health.groups - 1) for check in seen.window)
    least = min(_LEAST_DIRECTIONS, 1 + _LEAST_SHARE_OF_DIRECTIONS * (there_are - 1))
    if most >= least:
        return None
    return CollapseReport(
        f"dimensional collapse: embeddings use at most {most:.3g} of {there_are} directions; "
        f"a healthy training uses at least {least:.3g}",
        "All dimensions have become correlated: the learning rate or the weight decay is too high, or the weight of "
        "the decorrelation is too low. Lower training.learning_rate or training.weight_decay, or widen "
        "the projector in training.method_options",
    )


def _fallen_but_nothing_found(seen: Seen) -> CollapseReport | None:
    name, plateau = min(seen.trivial_losses.items(), key=lambda item: item[1], default=("", 0.0))
    start = seen.first.health
    if max(seen.losses) >= _FALLEN_TO * plateau:
        return None
    if seen.correlation >= _LESS_THAN_AT_START * start.intraclass_correlation:
        return None
    if min(check.health.alignment for check in seen.window) <= start.alignment:
        return None
    return CollapseReport(
        f"the loss has fallen to {fmean(seen.losses):.4g} ({plateau:.4g} when {name}), while positives have moved "
        "further apart than at the start",
        "The loss rewards something else: a row is among its own positives, or positives come from wrong "
        "rows. Check the masks of the loss and the method",
    )


def _at_plateau_and_nothing_found(seen: Seen) -> CollapseReport | None:
    if seen.correlation > _MORE_THAN_AT_START * seen.first.health.intraclass_correlation or not seen.plateau:
        return None
    return CollapseReport(
        f"{seen.plateau}, and positives are no closer than at the start",
        "These pairs teach nothing, or not at this learning rate: positives come from wrong rows, or views have "
        "too little in common. Check the masks of the loss and the method, "
        "weaken the augmentation in training.views_options, or change training.learning_rate",
    )


def _worse_than_nothing(seen: Seen) -> CollapseReport | None:
    name, plateau = max(seen.trivial_losses.items(), key=lambda item: item[1], default=("", math.inf))
    bound = max(_RISEN_TO * plateau, plateau + _RISEN_BY)
    half = len(seen.window) // 2
    before, now = fmean(seen.losses[:half]), fmean(seen.losses[half:])
    # A loss that comes down fast enough to get below in time is only slow; one that has hardly moved is slower still.
    at_the_end = now - max(before - now, 0.0) * 2 * seen.left
    if min(seen.losses) <= bound or at_the_end <= bound or seen.first.loss / _MOVED < now < seen.first.loss * _MOVED:
        return None
    return CollapseReport(
        f"the loss is {now:.4g}, far above {plateau:.4g}, its value when {name}, and will not fall below it in time",
        "Similarities are too large for the softmax: the temperature is too low, rows or a queue are not normalized, "
        "or the learning rate is too high. Choose a temperature of 0.1 to 0.5 in training.loss_options, normalize "
        "the rows that the loss compares, or lower training.learning_rate",
    )


VERDICTS: tuple[Callable[[Seen], CollapseReport | None], ...] = (
    _constant,
    _few_directions,
    _fallen_but_nothing_found,
    _at_plateau_and_nothing_found,
    _worse_than_nothing,
)
