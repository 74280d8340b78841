"""Report the cost of a run, in a line and in rows: the same on the terminal, in the Prefect UI and in the report."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from cl_core.refs import Ref
from cl_core.report.wording import format_duration

Outcome = Literal["ran", "cached", "failed", "killed", "interrupted", "running"]
"""`interrupted`: a person stopped it, and all that it had done is kept."""

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


def _total(steps: Sequence[StepCost], field: str) -> Any:
    return sum(getattr(step, field) for step in steps)


def _used(cpu_seconds: float, gpu_seconds: float) -> str:
    return f"{cpu_seconds:.1f} CPU-s" + (f", {gpu_seconds:.1f} GPU-s" if gpu_seconds else "")
