"""Retention as a task: lists what nothing refers to any more, then removes it."""

from datetime import UTC, datetime, timedelta

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

from cl_core.errors import InputError
from cl_core.retention.inventory_items import InventoryItem, OldestRun, VersionInputs
from cl_core.retention.policy import RetentionPlan, RetentionSpec, decide
from tasks.adapters.mlflow.connection import redacted_uri
from tasks.adapters.mlflow.version_inputs import record_broken_lineage, registered_versions
from tasks.prune_result import PruneResult, prune_markdown, prune_summary, readable_size
from tasks.runtime.inventory import forget_ingests, inventory, remove_item
from tasks.runtime.settings import Settings
from tasks.runtime.step import log_outcome, step

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
    decided = decide(inventory(settings), versions, retention, now=datetime.now(UTC), running=running)
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
            f"MLflow at {redacted_uri(settings.tracking_uri)} has no version of {', '.join(unknown)}, of which reports "
            f"stand in {settings.reports}: by another MLflow than the one that the results were registered in, all "
            "would seem unused. Correct the setting MLFLOW_TRACKING_URI; or, if the model was deleted there, delete "
            "the folder of its reports"
        )


def _carry_out(settings: Settings, decided: RetentionPlan) -> tuple[list[InventoryItem], list[InventoryItem]]:
    """Remove what goes, and say so item by item; what could not be said of a version is not done to it."""
    record_broken_lineage(settings.tracking_uri, decided.broken)
    for loss in decided.broken:
        log_outcome(loss.sentence)
    removed: list[InventoryItem] = []
    kept: list[InventoryItem] = []
    for verdict in decided.going:
        gone = remove_item(verdict.item)
        (removed if gone else kept).append(verdict.item)
        did = "removed" if gone else "kept after all, because it is in use by now"
        get_run_logger().info(
            "%s %s (%s): %s", did, verdict.item.path, readable_size(verdict.item.size_bytes), verdict.reason
        )
    forget_ingests(settings.datasets)
    return removed, kept
