"""Why each step of a flow run ran, or had nothing to do."""

from collections.abc import Iterator, Mapping
from typing import Any

from cl_core.report.costs import StepCost
from tasks.runtime.run_log import RunRecord, step_costs

# What decides whether a step's result stands: groups of parameters, and earlier steps by the digest of their result.
_DECIDES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ingest": (("data",), ()),
    "pretrain": (("training",), ("ingest",)),
    "evaluate": (("evaluation",), ("ingest", "plan")),
    "register": (("model_name",), ("plan",)),
    "report": (("model_name",), ("evaluate",)),
}
_EACH_TIME = "it has no result that could stand: it is done each time"


def reasons(account: RunRecord, earlier: RunRecord | None) -> list[tuple[StepCost, str]]:
    """Each step with the reason why it ran or not, in the order of the run.

    Args:
        account: Of the run.
        earlier: Of the last run before it of the same flow and model, that it is compared with; None without one.
    """
    return [(cost, _reason(cost, account, earlier)) for cost in step_costs(account.attempts)]


def run_before(account: RunRecord, known: list[RunRecord]) -> RunRecord | None:
    """The newest run of the same flow and model that began before this one, of accounts that come newest first."""
    run = account.run
    for other in known:
        same = (other.run.flow, other.run.parameters.get("model_name")) == (run.flow, run.parameters.get("model_name"))
        if same and other.run.began < run.began:
            return other
    return None


def _reason(cost: StepCost, account: RunRecord, earlier: RunRecord | None) -> str:
    if cost.outcome == "cached":
        return cost.why
    if cost.outcome == "ran" and cost.step in _DECIDES:
        return ". ".join(filter(None, (cost.why, _because(cost.step, account, earlier))))
    if cost.outcome == "killed":
        return f"{cost.why}. Its process was killed".removeprefix(". ")
    if cost.outcome == "running":
        return "It is at work"
    return cost.why or _EACH_TIME


def _because(step: str, account: RunRecord, earlier: RunRecord | None) -> str:
    if account.run.parameters.get("force") and step in ("ingest", "pretrain"):
        return "It ran because force was asked for"
    if earlier is None:
        return "It ran because no run of this flow and model is known from before"
    groups, steps = _DECIDES[step]
    changed = [sentence for group in groups for sentence in _differences(group, earlier, account)]
    for upstream in steps:
        before, now = _digest(earlier, upstream), _digest(account, upstream)
        if before != now and before and now:
            changed.append(f"the result of {upstream} {before[:12]} to {now[:12]}")
    since = f"since run {earlier.run.name}"
    if changed:
        return f"It ran because of what changed {since}: {', '.join(changed)}"
    if not any(attempt.step == step and attempt.outcome in ("ran", "cached") for attempt in earlier.attempts):
        return f"It ran because run {earlier.run.name} did not come to its end here"
    return f"It ran although no parameter changed {since}: the code, the source's content or a stored result did"


def _differences(group: str, before: RunRecord, now: RunRecord) -> Iterator[str]:
    old, new = (dict(_flat(group, account.run.parameters.get(group))) for account in (before, now))
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            yield f"{path} {old.get(path, 'unset')} to {new.get(path, 'unset')}"


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}", inner)
    else:
        yield path, value


def _digest(account: RunRecord, step: str) -> str:
    found = [str(attempt.result.get("digest", "")) for attempt in account.attempts if attempt.step == step]
    return found[-1] if found else ""
