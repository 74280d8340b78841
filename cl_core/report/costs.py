"""Report the cost of a run, in a line and in rows: the same on the terminal, in the Prefect UI and in the report."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from cl_core.refs import Ref
from cl_core.report.wording import format_duration

Outcome = Literal["ran", "cached", "failed", "killed", "running"]

_SHOWN_S = 0.05  # Shorter steps are left out of the line.


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
    seconds, cpu, gpu = (
        sum(getattr(step, name) for step in steps) for name in ("seconds", "cpu_seconds", "gpu_seconds")
    )
    return f"{', '.join(shown) or 'no step'}; total {format_duration(seconds)}, {_used(cpu, gpu)}; {lost(steps)}"


def lost(steps: Sequence[StepCost]) -> str:
    """Say what failures, kills and retries cost; "nothing lost to retries" when there were none."""
    retried = [step for step in steps if step.attempts > 1 or step.lost_seconds or step.repeated_steps]
    if not retried:
        return "nothing lost to retries"
    parts = [f"{format_duration(sum(step.lost_seconds for step in steps))} lost"]
    if waited := sum(step.waited_seconds for step in steps):
        parts.append(f"{format_duration(waited)} waited between attempts")
    if repeated := sum(step.repeated_steps for step in steps):
        parts.append(f"{repeated:,} training steps repeated")
    names = ", ".join(f"{step.step} ({step.attempts} attempt{'s' * (step.attempts > 1)})" for step in retried)
    return f"{', '.join(parts)}: {names}"


def cost_rows(steps: Sequence[StepCost]) -> list[dict[str, str]]:
    """Return one row per step, and the sums."""
    rows = [
        {
            "step": step.step,
            "outcome": step.outcome,
            "attempts": str(step.attempts),
            **_numbers([step]),
            "why": step.why,
        }
        for step in steps
    ]
    total = {"step": "total", "outcome": "", "attempts": str(sum(step.attempts for step in steps)), **_numbers(steps)}
    return [*rows, {**total, "why": lost(steps)}]


def _numbers(steps: Sequence[StepCost]) -> dict[str, str]:
    columns = {
        "seconds": "seconds",
        "CPU-seconds": "cpu_seconds",
        "GPU-seconds": "gpu_seconds",
        "seconds lost": "lost_seconds",
        "seconds waited": "waited_seconds",
    }
    sums = {title: f"{sum(getattr(step, name) for step in steps):.1f}" for title, name in columns.items()}
    return {**sums, "training steps repeated": f"{sum(step.repeated_steps for step in steps):,}"}


def _used(cpu_seconds: float, gpu_seconds: float) -> str:
    return f"{cpu_seconds:.1f} CPU-s" + (f", {gpu_seconds:.1f} GPU-s" if gpu_seconds else "")
