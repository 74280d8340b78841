"""Retention as a task: lists what nothing refers to any more, then removes it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import get_client
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from pydantic import Field

from cl_core.errors import InputError
from cl_core.refs import StepResult
from cl_core.retention.inventory_items import InventoryItem, OldestRun, VersionInputs
from cl_core.retention.policy import RetentionPlan, RetentionSpec, plan_retention
from tasks.adapters.mlflow.connection import redacted_uri
from tasks.adapters.mlflow.version_inputs import record_broken_lineage, registered_versions
from tasks.runtime.inventory import forget_ingests, inventory, remove_item
from tasks.runtime.settings import Settings
from tasks.runtime.step import log_outcome, step

_ROWS_SHOWN = 500


class PruneResult(StepResult):
    """What was removed, or would be."""

    dry_run: bool
    home: Path = Field(description="Folder that all stands in.")
    retention: RetentionPlan
    running: OldestRun | None = Field(description="Flow run that keeps what was used since it began.")
    removed: list[InventoryItem] = Field(description="Gone; empty in a dry run.")
    kept_after_all: list[InventoryItem] = Field(description="Was to go, and has been used or locked in the meantime.")


def prune_summary(pruned: PruneResult) -> str:
    """How much is, or would be, gone, and what is held back."""
    all_items = [verdict.item for verdict in pruned.retention.verdicts]
    going = [verdict.item for verdict in pruned.retention.going] if pruned.dry_run else pruned.removed
    did, freed = ("would be removed", "would be freed") if pruned.dry_run else ("removed", "freed")
    text = f"{len(going)} of {len(all_items)} things {did}, {_size(going)} of {_size(all_items)} {freed}"
    if pruned.running is None:
        return text
    return (
        f"{text}; what was used since {pruned.running.since:%Y-%m-%d %H:%M} UTC stays, because flow run "
        f"{pruned.running.name!r} ({pruned.running.id}) may still go on; if its process is dead, `cl doctor --mend` "
        "tells Prefect"
    )


def prune_rows(pruned: PruneResult) -> list[dict[str, str]]:
    """What goes, one row each, the largest first."""
    return [
        {
            "kind": verdict.item.kind,
            "what": _shortened(verdict.item.path.relative_to(pruned.home).as_posix()),
            "size": readable_size(verdict.item.size_bytes),
            "last used": f"{verdict.item.last_used:%Y-%m-%d %H:%M} UTC",
            "why it goes": verdict.reason,
        }
        for verdict in sorted(pruned.retention.going, key=lambda verdict: -verdict.item.size_bytes)
    ]


def prune_markdown(pruned: PruneResult) -> str:
    """The list as Prefect shows it."""
    lines = [f"**{prune_summary(pruned)}.**", ""]
    lines += [f"- {loss.sentence}" for loss in pruned.retention.broken] + [""]
    if listed := prune_rows(pruned):
        lines += [f"| {' | '.join(listed[0])} |", f"|{'---|' * len(listed[0])}"]
        lines += [f"| {' | '.join(row.values())} |" for row in listed[:_ROWS_SHOWN]]
    if len(listed) > _ROWS_SHOWN:
        lines += ["", f"… and {len(listed) - _ROWS_SHOWN} smaller ones"]
    return "\n".join(lines) + "\n"


def readable_size(size_bytes: int) -> str:
    """A size for people: 1.5 MiB."""
    size, units = float(size_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} B" if units[0] == "B" else f"{size:.1f} {units[0]}"


def _size(items: list[InventoryItem]) -> str:
    return readable_size(sum(item.size_bytes for item in items))


def _shortened(path: str) -> str:
    """A path whose digests have 12 digits, as everywhere."""
    return "/".join(part[:12] + part[64:] if len(part) >= 64 else part for part in path.split("/"))


# A run that waits for its next attempt is scheduled, and goes on with what it has found.
_MAY_GO_ON = [StateType.RUNNING, StateType.PENDING, StateType.PAUSED, StateType.CANCELLING, StateType.SCHEDULED]
_CRASHED_LATELY = timedelta(minutes=30)


@step("prune")
def prune(retention: RetentionSpec, *, dry_run: bool) -> PruneResult:
    """List what nothing refers to any more; then, unless it is a dry run, remove it."""
    settings = Settings.from_environment()
    running = oldest_running_flow(retention)
    versions = registered_versions(settings.tracking_uri)
    check_store(settings, versions)
    decided = plan_retention(inventory(settings), versions, retention, now=datetime.now(UTC), running=running)
    removed, kept = ([], []) if dry_run else _carry_out(settings, decided)
    pruned = PruneResult(
        dry_run=dry_run, home=settings.home, retention=decided, running=running, removed=removed, kept_after_all=kept
    )
    create_markdown_artifact(prune_markdown(pruned), key="prune", description="What retention removes, and why")
    return pruned.model_copy(update={"note": log_outcome(prune_summary(pruned))})


def oldest_running_flow(retention: RetentionSpec) -> OldestRun | None:
    """The flow run, other than this one, that began first and has not ended; None when there is none."""
    context = FlowRunContext.get()
    own = [context.flow_run.id] if context is not None and context.flow_run is not None else []
    now = datetime.now(UTC)
    begun = FlowRunFilterStartTime(after_=now - timedelta(days=retention.longest_run_days), is_null_=False)
    at_work = FlowRunFilter(id=FlowRunFilterId(not_any_=own), state=_in_state(*_MAY_GO_ON), start_time=begun)
    # An automation puts a crashed run back to work some seconds later, and it goes on with what it had found.
    crashed = FlowRunFilter(
        state=_in_state(StateType.CRASHED),
        start_time=begun,
        end_time=FlowRunFilterEndTime(after_=now - _CRASHED_LATELY),
    )
    with get_client(sync_client=True) as client:
        found = [
            run
            for wanted in (at_work, crashed)
            for run in client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.START_TIME_ASC, limit=1)
        ]
    running = [OldestRun(id=str(run.id), name=run.name, since=run.start_time) for run in found if run.start_time]
    return min(running, key=lambda run: run.since, default=None)


def _in_state(*types: StateType) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))


def check_store(settings: Settings, versions: list[VersionInputs]) -> None:
    """Refuse to judge by another MLflow than the one that the results here were registered in.

    Raises:
        InputError: When there are reports of a model that it has no version of.
    """
    known = {version.name for version in versions}
    reports = sorted(path.name for path in settings.reports.glob("*") if any(path.glob("version-*.html")))
    if unknown := [name for name in reports if name not in known]:
        raise InputError(
            f"MLflow at {redacted_uri(settings.tracking_uri)} has no version of {', '.join(unknown)}, but "
            f"{settings.reports} has reports of them. Another MLflow may have registered these results, and pruning "
            "would remove what its versions need; correct MLFLOW_TRACKING_URI, or delete the reports' folder if the "
            "model was deleted"
        )


def _carry_out(settings: Settings, decided: RetentionPlan) -> tuple[list[InventoryItem], list[InventoryItem]]:
    """Remove what goes, and say so item by item; what could not be said of a version is not done to it."""
    record_broken_lineage(settings.tracking_uri, decided.broken)
    for loss in decided.broken:
        log_outcome(loss.sentence)
    removed: list[InventoryItem] = []
    kept: list[InventoryItem] = []
    for verdict in decided.to_delete:
        gone = remove_item(verdict.item)
        (removed if gone else kept).append(verdict.item)
        did = "removed" if gone else "kept after all, because it is in use by now"
        get_run_logger().info(
            "%s %s (%s): %s", did, verdict.item.path, readable_size(verdict.item.size_bytes), verdict.reason
        )
    forget_ingests(settings.datasets)
    return removed, kept
