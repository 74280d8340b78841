"""Detect collapse while a training runs, and name its kind.

Checks depend on the step alone, and those behind a verdict are stored with each checkpoint: a resumed
training stops where an uninterrupted one stops.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cl_core.errors import CollapseError
from cl_core.methods import Step
from cl_core.parallel import collectives
from cl_core.training.health.metrics import Health, health, of_all_workers
from cl_core.training.health.rules import VERDICTS, MetricsSnapshot, Seen

_CHECKS_PER_WINDOW = 10
# Steps. In a long training a window is a hundredth of it: what takes ten times as long is noticed ten times as late.
_LEAST_WINDOW = 100


class CollapseWatch:
    """Checks a training for collapse at regular steps.

    Args:
        steps: Of the whole training.
        warmup_steps: Nothing is judged while the learning rate rises.
        trivial_losses: Losses of solutions that learn nothing, by name.
        checks: What `state` gave at an earlier step.
    """

    def __init__(
        self,
        *,
        steps: int,
        warmup_steps: int,
        trivial_losses: Mapping[str, float],
        checks: Sequence[Sequence[Any]] = (),
    ) -> None:
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.trivial_losses = trivial_losses
        self.every = max(_LEAST_WINDOW, steps // 100) // _CHECKS_PER_WINDOW
        self.checks = [
            MetricsSnapshot(step, loss, Health(*figures), metrics) for step, loss, figures, metrics in checks
        ]

    def is_due(self, step: int) -> bool:
        """Return whether a check is due after this step, counted from 1."""
        return step in (1, self.steps) or step % self.every == 0

    def look(self, step: int, loss: Tensor, made: Step, *, samples: int) -> None:
        """Check what this worker made of its `samples` in a step from 1; every worker takes part, worker 0 judges.

        `loss` is () of the whole batch, finite.

        Raises:
            CollapseError: On every worker.
        """
        embeddings, groups = of_all_workers(made, samples=samples)
        metrics = {name: collectives.average(value).item() for name, value in made.metrics.items()}
        verdict = ""
        if collectives.rank() == 0:
            verdict = self.judge(MetricsSnapshot(step, loss.item(), health(embeddings, groups), metrics))
        if collectives.all_reduce_sum(torch.tensor(float(bool(verdict)), device=loss.device)):
            raise CollapseError(verdict or f"stopped after step {step}: worker 0 found a collapse; see its log")

    def judge(self, check: MetricsSnapshot) -> str:
        """Add a check; return what is wrong, or an empty string."""
        self.checks = [*self.state(), check]
        first, window = self.checks[0], self.checks[1:][-_CHECKS_PER_WINDOW:]
        if len(window) < _CHECKS_PER_WINDOW or window[0].step <= self.warmup_steps:
            return ""
        checks_left = (self.steps - check.step) / (self.every * _CHECKS_PER_WINDOW)
        seen = Seen(first, window, self.trivial_losses, checks_left)
        found = [finding for verdict in VERDICTS if (finding := verdict(seen))]
        if not found:
            return ""
        return (
            f"stopped after step {check.step}: {found[0].what}. Each of the last {len(window)} checks, since step "
            f"{window[0].step}, found this. {_beside(first, check)}. {found[0].advice}. This training registers no "
            "model; its earlier checkpoints are kept"
        )

    @property
    def latest(self) -> MetricsSnapshot:
        """The newest check; only worker 0 has it."""
        return self.checks[-1]

    def state(self) -> list[MetricsSnapshot]:
        """Return the first check and those of the window as JSON values."""
        return self.checks[:1] + self.checks[1:][-_CHECKS_PER_WINDOW:]


def _beside(first: MetricsSnapshot, check: MetricsSnapshot) -> str:
    """Return the figures of now and those of the start as text."""
    names = ("accuracy", "intraclass_correlation", "feature_std", "effective_rank")
    figures = [("loss", check.loss, first.loss)]
    figures += [(name, getattr(check.health, name), getattr(first.health, name)) for name in names]
    return "Now (and at the start): " + ", ".join(
        f"{name.replace('_', ' ')} {now:.3g} ({then:.3g})" for name, now, then in figures
    )
