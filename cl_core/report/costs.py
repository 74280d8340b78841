"""The cost of each step of a run, from its attempts; in a line and in rows, the same wherever it is shown."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Literal

from pydantic import Field

from cl_core.refs import Ref
from cl_core.report.wording import format_duration

Outcome = Literal["ran", "cached", "failed", "killed", "interrupted", "running"]
"""`interrupted`: a person stopped it, and all that it had done is kept."""

_SHOWN_S = 0.05  # Shorter steps are left out of the line.


class StepAttempt(Ref):
    """One attempt of a step."""

    step: str
    began: float = Field(description="Seconds since 1970.")
    seconds: float = Field(0.0, description="Wall time; of a killed attempt, until its last heartbeat.")
    cpu_seconds: float = Field(0.0, description="CPU time of the process and of those that it started in the step.")
    gpu_seconds: float = Field(0.0, description="Wall time from the start of training, times the number of GPUs held.")
    outcome: Outcome = Field("running", description="`cached`: its result was up to date, so it was skipped.")
    messages: list[str] = Field([], description="What the step logged about itself.")
    inputs: dict[str, str] = Field({}, description="Digests of the step's arguments, by name.")
    error: str = Field("", description="Why it failed; empty otherwise.")
    repeated_steps: int | None = Field(None, description="Training steps taken again; none without training.")
    repeated_seconds: float = Field(0.0, description="Time that those had taken before.")
    result: dict[str, Any] = Field({}, description="The plain values of its result.")


class StepCost(Ref):
    """A step over all its attempts in a flow run."""

    step: str
    outcome: Outcome = Field(description="Of the last attempt.")
    attempts: int
    seconds: float
    cpu_seconds: float
    gpu_seconds: float
    lost_seconds: float = Field(description="Of attempts that failed or were killed, without the part that was kept.")
    waited_seconds: float = Field(description="Between such an attempt and the next one.")
    repeated_steps: int = Field(description="Training steps repeated after a failure.")
    why: str = Field(description="Message of the last attempt, or why it failed.")


def step_costs(attempts: Sequence[StepAttempt]) -> list[StepCost]:
    """Return the cost of each step, in the order in which the steps began."""
    steps = dict.fromkeys(attempt.step for attempt in attempts)
    return [_cost([attempt for attempt in attempts if attempt.step == step]) for step in steps]


def _cost(attempts: Sequence[StepAttempt]) -> StepCost:
    last = attempts[-1]
    # Attempts without a result, each with the one that followed it.
    failures = [pair for pair in zip_longest(attempts, attempts[1:]) if pair[0].outcome in ("failed", "killed")]
    # A training resumes from its checkpoint: of the attempt before, only the repeated steps are lost.
    lost = [one.seconds for one, following in failures if following is None or following.repeated_steps is None]
    waited = [max(0.0, following.began - one.began - one.seconds) for one, following in failures if following]
    return StepCost(
        step=last.step,
        outcome=last.outcome,
        attempts=len(attempts),
        seconds=_total(attempts, "seconds"),
        cpu_seconds=_total(attempts, "cpu_seconds"),
        gpu_seconds=_total(attempts, "gpu_seconds"),
        lost_seconds=_total(attempts, "repeated_seconds") + sum(lost),
        waited_seconds=sum(waited),
        repeated_steps=sum(attempt.repeated_steps or 0 for attempt in attempts),
        why=last.error or ". ".join(last.messages),
    )


def cost_line(steps: Sequence[StepCost]) -> str:
    """Return each step that took time, the sums, and what was lost to retries, in one sentence.

    Returns:
        Such as "ingest 2.4 s (4.1 CPU-s), pretrain 14 s (13.0 CPU-s); total 17 s, 17.3 CPU-s; nothing lost to retries".
    """
    shown = [
        f"{step.step} {format_duration(step.seconds)} ({_used(step.cpu_seconds, step.gpu_seconds)})"
        for step in steps
        if step.seconds >= _SHOWN_S
    ]
    seconds, cpu, gpu = (_total(steps, name) for name in ("seconds", "cpu_seconds", "gpu_seconds"))
    return f"{', '.join(shown) or 'no step'}; total {format_duration(seconds)}, {_used(cpu, gpu)}; {lost(steps)}"


def lost(steps: Sequence[StepCost]) -> str:
    """Return what failures, kills and retries cost; "nothing lost to retries" when there were none."""
    retried = [step for step in steps if step.attempts > 1 or step.lost_seconds or step.repeated_steps]
    if not retried:
        return "nothing lost to retries"
    parts = [f"{format_duration(_total(steps, 'lost_seconds'))} lost"]
    if waited := _total(steps, "waited_seconds"):
        parts.append(f"{format_duration(waited)} waited between attempts")
    if repeated := _total(steps, "repeated_steps"):
        parts.append(f"{repeated:,} training steps repeated")
    names = ", ".join(f"{step.step} ({step.attempts} attempt{'s' * (step.attempts > 1)})" for step in retried)
    return f"{', '.join(parts)}: {names}"


def cost_rows(steps: Sequence[StepCost]) -> list[dict[str, str]]:
    """Return one row per step, and the sums."""
    rows = [_row(step.step, step.outcome, [step], step.why) for step in steps]
    return [*rows, _row("total", "", steps, lost(steps))]


def _row(name: str, outcome: str, steps: Sequence[StepCost], why: str) -> dict[str, str]:
    return {
        "step": name,
        "outcome": outcome,
        "attempts": str(_total(steps, "attempts")),
        "seconds": f"{_total(steps, 'seconds'):.1f}",
        "CPU-seconds": f"{_total(steps, 'cpu_seconds'):.1f}",
        "GPU-seconds": f"{_total(steps, 'gpu_seconds'):.1f}",
        "seconds lost": f"{_total(steps, 'lost_seconds'):.1f}",
        "seconds waited": f"{_total(steps, 'waited_seconds'):.1f}",
        "training steps repeated": f"{_total(steps, 'repeated_steps'):,}",
        "why": why,
    }


def _total(parts: Sequence[StepAttempt | StepCost], field: str) -> Any:
    return sum(getattr(part, field) for part in parts)


def _used(cpu_seconds: float, gpu_seconds: float) -> str:
    return f"{cpu_seconds:.1f} CPU-s" + (f", {gpu_seconds:.1f} GPU-s" if gpu_seconds else "")
