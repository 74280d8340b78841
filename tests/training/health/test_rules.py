"""What is called a collapse: courses of figures, healthy and not, each told in a line."""

import json
import math
from collections.abc import Callable

import pytest

from cl_core.training.health.detector import CollapseWatch
from cl_core.training.health.metrics import Health
from cl_core.training.health.rules import MetricsSnapshot

SAME = {"every embedding is the same": 5.0}


def figures(
    *,
    std: float = 0.6,
    rank: float = 20.0,
    correlation: float = 0.5,
    alignment: float = 0.5,
    groups: int = 256,
) -> Health:
    """Those of a healthy training in 64 dimensions, unless given; `std` is a share of 1 / sqrt(64)."""
    return Health(
        accuracy=0.5,
        alignment=alignment,
        intraclass_correlation=correlation,
        uniformity=-2.0,
        feature_std=std / 8,
        effective_rank=rank,
        dimensions=64,
        groups=groups,
    )


AT_START = figures(correlation=0.2, alignment=1.0)


def first_verdict(
    loss_of: Callable[[int], float],
    health_of: Callable[[int], Health],
    *,
    steps: int = 400,
    warmup_steps: int = 0,
    trivial_losses: dict[str, float] = SAME,
    first_loss: float = 5.2,
) -> str:
    """The first sentence about a course, empty when there is none."""
    watch = CollapseWatch(steps=steps, warmup_steps=warmup_steps, trivial_losses=trivial_losses)
    for step in range(1, steps + 1):
        if watch.is_due(step):
            seen = (first_loss, AT_START) if step == 1 else (loss_of(step), health_of(step))
            verdict = watch.judge(MetricsSnapshot(step, *seen, metrics={}))
            if verdict:
                return verdict
    return ""


def test_a_window_of_ten_checks_has_to_be_full() -> None:
    verdict = first_verdict(lambda step: 3.0, lambda step: figures(std=0.01))
    assert verdict.startswith("stopped after step 100: all embeddings are nearly equal")
    assert "Each of the last 10 checks, since step 10, found this." in verdict


def test_there_is_no_verdict_while_the_learning_rate_rises() -> None:
    verdict = first_verdict(lambda step: 3.0, lambda step: figures(std=0.01), warmup_steps=125)
    assert verdict.startswith("stopped after step 220: ")
    assert "since step 130, found this." in verdict


def test_one_healthy_check_in_ten_is_enough() -> None:
    def health(step: int) -> Health:
        return figures(std=0.6 if step % 100 == 50 else 0.01)

    assert first_verdict(lambda step: 3.0, health) == ""


def test_a_long_training_is_checked_a_thousand_times() -> None:
    watch = CollapseWatch(steps=100_000, warmup_steps=0, trivial_losses={})
    assert sum(map(watch.is_due, range(1, 100_001))) == 1001  # And once after the first step.
    assert first_verdict(lambda step: 3.0, lambda step: figures(std=0.01), steps=20_000).startswith(
        "stopped after step 200: "
    )


@pytest.mark.parametrize(
    ("std", "correlation", "collapsed"),
    [(0.09, 0.9, True), (0.11, 0.9, False), (0.19, 0.14, True), (0.19, 0.16, False), (0.21, 0.0, False)],
)
def test_a_small_spread_needs_a_second_witness_unless_it_is_tiny(
    std: float, correlation: float, collapsed: bool
) -> None:
    """The correlation at the start is 0.2; three quarters of it are 0.15."""
    health = figures(std=std, correlation=correlation)
    assert bool(first_verdict(lambda step: 3.0, lambda step: health)) is collapsed


@pytest.mark.parametrize(
    ("rank", "groups", "collapsed"),
    [
        (2.2, 256, True),  # 1 + 0.02 * 62 = 2.24 of 63 directions, D being 64.
        (2.3, 256, False),
        (1.0, 2, False),  # Two classes, each drawn to a point: a line is all there is.
        (1.15, 10, True),  # 1 + 0.02 * 8 = 1.16 of nine directions of ten classes.
        (1.17, 10, False),
    ],
)
def test_how_few_directions_are_too_few_depends_on_how_many_there_are(
    rank: float, groups: int, collapsed: bool
) -> None:
    verdict = first_verdict(lambda step: 3.0, lambda step: figures(rank=rank, groups=groups))
    assert ("dimensional collapse" in verdict) is collapsed


def test_a_loss_that_falls_while_positives_move_apart_rewards_something_else() -> None:
    verdict = first_verdict(lambda step: 1.0, lambda step: figures(correlation=0.05, alignment=1.9))
    assert "the loss has fallen to 1 (5 when every embedding is the same), while positives have moved" in verdict
    for healthy in (figures(correlation=0.16, alignment=1.9), figures(correlation=0.05, alignment=0.9)):
        assert first_verdict(lambda step: 1.0, lambda step, healthy=healthy: healthy) == ""


def test_a_loss_at_its_plateau_is_a_verdict_only_when_nothing_is_found() -> None:
    """SwAV and MoCo stay there for a hundred steps, and learn."""

    def loss(step: int) -> float:
        return 5.0 + (0.04 if step % 20 else -0.03)

    verdict = first_verdict(loss, lambda step: figures(correlation=0.2))
    assert "the loss stays at 5.005, its value when every embedding is the same (5)" in verdict
    assert first_verdict(loss, lambda step: figures(correlation=0.26)) == ""
    assert first_verdict(lambda step: 5.03, lambda step: figures(correlation=0.2)) == ""
    assert first_verdict(lambda step: 5.0 + 0.15 * (-1) ** (step // 10), lambda step: figures(correlation=0.2)) == ""


def test_a_loss_far_above_its_plateau_that_will_not_come_down_is_worse_than_guessing() -> None:
    def healthy(step: int) -> Health:
        return figures()

    assert "the loss is 670, far above 5, its value when" in first_verdict(lambda step: 670.0, healthy)
    # Falls by 1 in half a window of 50 steps: from 20 at the start it will be at 12 in the end, and was to be at 7.5.
    assert "will not fall below it" in first_verdict(lambda step: 20 - step / 50, healthy, first_loss=60.0)
    # Falls to 4 in the end.
    assert first_verdict(lambda step: 20 - step / 25, healthy, first_loss=60.0) == ""
    # Has not begun to move, at a low rate and a low temperature.
    assert first_verdict(lambda step: 20 - step / 1000, healthy, first_loss=22.0) == ""


def test_margins_are_exceeded_several_times_by_hard_triplets() -> None:
    margin = {"every embedding is the same": 0.2}
    assert first_verdict(lambda step: 1.2, lambda step: figures(), trivial_losses=margin, first_loss=0.5) == ""


def test_without_trivial_losses_and_with_one_of_zero_only_the_embeddings_are_judged() -> None:
    for none in ({}, {"every embedding is the same": 0.0}):
        assert first_verdict(lambda step: 0.0, lambda step: figures(correlation=0.0), trivial_losses=none) == ""
        assert first_verdict(lambda step: 0.0, lambda step: figures(std=0.0), trivial_losses=none) != ""


@pytest.mark.parametrize("kept_at", [40, 95, 150, 199])
def test_checks_restored_from_json_lead_to_the_same_verdict(kept_at: int) -> None:
    def seen(step: int) -> MetricsSnapshot:
        health = AT_START if step == 1 else figures(std=0.6 if step < 110 else 0.05)
        return MetricsSnapshot(step, 5.2 if step == 1 else 3.0, health, {"prototype_entropy": math.pi})

    undisturbed, resumed = (CollapseWatch(steps=400, warmup_steps=5, trivial_losses=SAME) for _ in range(2))
    verdicts: list[list[str]] = [[], []]
    for step in range(1, 221):
        if undisturbed.is_due(step):
            verdicts[0].append(undisturbed.judge(seen(step)))
            verdicts[1].append(resumed.judge(seen(step)))
        if step == kept_at:
            kept = json.loads(json.dumps(resumed.state()))
            assert len(kept) <= 11
            resumed = CollapseWatch(steps=400, warmup_steps=5, trivial_losses=SAME, checks=kept)
            assert resumed.latest == undisturbed.latest
    assert verdicts[0] == verdicts[1]
    assert [bool(verdict) for verdict in verdicts[0]].index(True) == 20  # At step 200, the checks being 1, 10, 20, ...
