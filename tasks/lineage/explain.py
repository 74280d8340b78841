"""Why each step of a flow run ran or was skipped, derived from the run log."""

from collections.abc import Iterator, Mapping
from typing import Any

from cl_core.report.costs import StepAttempt, StepCost, step_costs
from tasks.runtime.run_log import FlowRun, model_of

# Neither changes a result: where it is computed, and that it is computed again.
_WITHOUT_EFFECT = frozenset({"compute", "force"})
_EVERY_TIME = "it keeps no result, so it runs every time"


def step_reasons(run: FlowRun, earlier: FlowRun | None) -> list[tuple[StepCost, str]]:
    """Return each step with the reason why it ran or was skipped, in the order of the run.

    Args:
        run: The run.
        earlier: The last run before it of the same flow and model, for comparison; None without one.
    """
    return [(cost, _reason(cost, run, earlier)) for cost in step_costs(run.attempts)]


def previous_run(run: FlowRun, runs: list[FlowRun]) -> FlowRun | None:
    """Return the newest run of the same flow and model that began before this one, of runs sorted newest first."""
    for other in runs:
        same = (other.flow, model_of(other.parameters)) == (run.flow, model_of(run.parameters))
        if same and other.began < run.began:
            return other
    return None


def _reason(cost: StepCost, run: FlowRun, earlier: FlowRun | None) -> str:
    if cost.outcome == "cached":
        return cost.why
    if cost.outcome == "ran" and cost.why:
        return f"{cost.why}. {_cause(cost.step, run, earlier)}"
    if cost.outcome == "killed":
        return f"{cost.why}. Its process was killed".removeprefix(". ")
    if cost.outcome == "running":
        return "It is running"
    return cost.why or _EVERY_TIME


def _cause(step: str, run: FlowRun, earlier: FlowRun | None) -> str:
    if run.parameters.get("force") and "force" in _inputs(step, run):
        return "It ran because `force` was set"
    if earlier is None:
        return "It ran because no earlier run of this flow and model is recorded"
    name = earlier.name
    if not any(attempt.step == step and attempt.outcome in ("cached", "ran") for attempt in earlier.attempts):
        return f"It ran because run {name} did not complete it"
    if changes := list(dict.fromkeys(_changes(step, earlier, run))):
        return f"It ran because of what changed since run {name}: {', '.join(changes)}"
    return (
        f"Its inputs are those of run {name}: it runs every time, "
        "or the code, the content of the source or a stored result changed"
    )


def _changes(step: str, before: FlowRun, now: FlowRun) -> Iterator[str]:
    """Give what changed in the inputs of a step, traced back to parameters and to results of earlier steps."""
    recorded = all(_last_attempt(step, run).inputs for run in (before, now))
    old, new = (_inputs(step, run, recorded=recorded) for run in (before, now))
    for name in sorted(new.keys() - _WITHOUT_EFFECT):
        if old.get(name) == new[name]:
            continue
        if name in now.parameters:
            yield from list(_differences(name, before, now)) or [f"the default of {name}"]
        elif source := _step_with_result(now, new[name]):
            yield from _changes_of_result(source, before, now)
        else:
            yield name


def _changes_of_result(step: str, before: FlowRun, now: FlowRun) -> Iterator[str]:
    """Give why the result of an earlier step is another one: its own inputs, else what it found in the world."""
    if upstream := list(_changes(step, before, now)):
        yield from upstream
    else:
        old, new = _last_attempt(step, before), _last_attempt(step, now)
        message = f" ({'. '.join(new.messages)})" if new.messages != old.messages else ""
        yield f"the result of {step} {_digest(old)[:12] or 'unknown'} to {_digest(new)[:12]}{message}"


def _differences(name: str, before: FlowRun, now: FlowRun) -> Iterator[str]:
    """Give each value of a parameter that is another one, such as `training.epochs 2 to 5`."""
    old, new = (dict(_flat(name, run.parameters.get(name))) for run in (before, now))
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            yield f"{path} {old.get(path, 'unset')} to {new.get(path, 'unset')}"


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}", inner)
    else:
        yield path, value


def _step_with_result(run: FlowRun, digest: str) -> str:
    """Return the first step whose result has this digest; empty without one."""
    return next((attempt.step for attempt in run.attempts if _digest(attempt) == digest), "")


def _digest(attempt: StepAttempt) -> str:
    return str(attempt.result.get("digest", ""))


def _last_attempt(step: str, run: FlowRun) -> StepAttempt:
    attempts = [attempt for attempt in run.attempts if attempt.step == step]
    return attempts[-1] if attempts else StepAttempt(step=step, began=0)


def _inputs(step: str, run: FlowRun, *, recorded: bool = True) -> dict[str, str]:
    """Return what identifies each input of a step, by name.

    Logs of release 0.1.0 and runs read from the server have no inputs. There, every parameter of the run and every
    result of an earlier step counts as an input: too many rather than too few.
    """
    if recorded and (inputs := _last_attempt(step, run).inputs):
        return inputs
    inputs = {name: str(value) for name, value in run.parameters.items()}
    for attempt in run.attempts:
        if attempt.step == step:
            break
        if digest := _digest(attempt):
            inputs[f"result of {attempt.step}"] = digest
    return inputs
