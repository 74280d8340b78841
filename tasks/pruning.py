"""The prune step: list the results that nothing refers to any more, then remove them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect import get_client
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from pydantic import Field

from cl_core.errors import InputError
from cl_core.refs import StepResult
from cl_core.report.markdown import table
from cl_core.report.reasons import broken_lineage_sentence, retention_sentence
from cl_core.retention.inventory_items import InventoryItem, OldestRun, VersionInputs
from cl_core.retention.policy import RetentionPlan, RetentionSpec, plan_retention
from tasks.adapters.mlflow.connection import redacted_uri
from tasks.adapters.mlflow.version_inputs import record_broken_lineage, registered_versions
from tasks.runtime.inventory import forget_ingests, inventory, remove_item
from tasks.runtime.settings import Settings
from tasks.runtime.step import log_outcome, step

_ROWS_SHOWN = 500


class PruneResult(StepResult):
    """What was removed, or would be removed."""

    dry_run: bool
    home: Path = Field(description="CL_HOME.")
    retention: RetentionPlan
    running: OldestRun | None = Field(description="Unfinished flow run, which keeps what was used since it began.")
    removed: list[InventoryItem] = Field(description="Removed items; empty in a dry run.")
    skipped_in_use: list[InventoryItem] = Field(description="To be removed, but used or locked in the meantime.")


def prune_summary(pruned: PruneResult) -> str:
    """Return a sentence about how much was, or would be, removed, and what is kept for a running flow."""
    all_items = [verdict.item for verdict in pruned.retention.verdicts]
    items = [verdict.item for verdict in pruned.retention.to_delete] if pruned.dry_run else pruned.removed
    did, freed = ("would be removed", "would be freed") if pruned.dry_run else ("removed", "freed")
    text = f"{len(items)} of {len(all_items)} artifacts {did}, {_size(items)} of {_size(all_items)} {freed}"
    if pruned.running is None:
        return text
    return (
        f"{text}; results used since {pruned.running.since:%Y-%m-%d %H:%M} UTC are kept, because flow run "
        f"{pruned.running.name!r} ({pruned.running.id}) has not ended; if its process is dead, run `cl doctor --fix`"
    )


def prune_rows(pruned: PruneResult) -> list[dict[str, str]]:
    """Return one row for each item to remove, the largest first."""
    return [
        {
            "kind": verdict.item.kind,
            "what": _shortened(verdict.item.path.relative_to(pruned.home).as_posix()),
            "size": readable_size(verdict.item.size_bytes),
            "last used": f"{verdict.item.last_used:%Y-%m-%d %H:%M} UTC",
            "why": retention_sentence(verdict),
        }
        for verdict in sorted(pruned.retention.to_delete, key=lambda verdict: -verdict.item.size_bytes)
    ]


def prune_markdown(pruned: PruneResult) -> str:
    """Return the list as Markdown, for Prefect."""
    parts = [
        f"**{prune_summary(pruned)}.**",
        "\n".join(f"- {broken_lineage_sentence(loss)}" for loss in pruned.retention.broken),
    ]
    if rows := prune_rows(pruned):
        parts.append(table(rows[:_ROWS_SHOWN]))
    if len(rows) > _ROWS_SHOWN:
        parts.append(f"… and {len(rows) - _ROWS_SHOWN} smaller ones")
    return "\n\n".join(filter(None, parts)) + "\n"


def readable_size(size_bytes: int) -> str:
    """Return a size for people, such as 1.5 MiB."""
    size, units = float(size_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} B" if units[0] == "B" else f"{size:.1f} {units[0]}"


def _size(items: list[InventoryItem]) -> str:
    return readable_size(sum(item.size_bytes for item in items))


def _shortened(path: str) -> str:
    """Shorten the digests in a path to 12 digits, as everywhere."""
    return "/".join(part[:12] + part[64:] if len(part) >= 64 else part for part in path.split("/"))


# A run that waits for its next attempt is scheduled, and will use what it has found.
_UNFINISHED = ["RUNNING", "PENDING", "PAUSED", "CANCELLING", "SCHEDULED"]
_RESCHEDULED_WITHIN = timedelta(minutes=30)


@step("prune")
def prune(retention: RetentionSpec, *, dry_run: bool) -> PruneResult:
    """List what nothing refers to any more and, unless it is a dry run, remove it."""
    settings = Settings.from_environment()
    running = oldest_running_flow(retention)
    versions = registered_versions(settings.tracking_uri)
    check_store(settings, versions)
    plan = plan_retention(inventory(settings), versions, retention, now=datetime.now(UTC), running=running)
    removed, skipped = ([], []) if dry_run else _apply(settings, plan)
    pruned = PruneResult(
        dry_run=dry_run, home=settings.home, retention=plan, running=running, removed=removed, skipped_in_use=skipped
    )
    create_markdown_artifact(prune_markdown(pruned), key="prune", description="What retention removes, and why")
    log_outcome(prune_summary(pruned))
    return pruned


def oldest_running_flow(retention: RetentionSpec) -> OldestRun | None:
    """Return the unfinished flow run, other than this one, that began first; None when there is none."""
    context = FlowRunContext.get()
    own = [context.flow_run.id] if context is not None and context.flow_run is not None else []
    now = datetime.now(UTC)
    begun = {"after_": now - timedelta(days=retention.longest_run_days), "is_null_": False}
    with get_client(sync_client=True) as client:

        def oldest(*states: str, **more: Any) -> list[FlowRun]:
            conditions = {"state": {"type": {"any_": states}}, "start_time": begun, **more}
            return client.read_flow_runs(
                flow_run_filter=FlowRunFilter.model_validate(conditions), sort=FlowRunSort.START_TIME_ASC, limit=1
            )

        flow_runs = [
            *oldest(*_UNFINISHED, id={"not_any_": own}),
            # An automation reschedules a crashed run some seconds later, and the run will use what it had found.
            *oldest("CRASHED", end_time={"after_": now - _RESCHEDULED_WITHIN}),
        ]
    running = [OldestRun(id=str(run.id), name=run.name, since=run.start_time) for run in flow_runs if run.start_time]
    return min(running, key=lambda run: run.since, default=None)


def check_store(settings: Settings, versions: list[VersionInputs]) -> None:
    """Refuse to prune by an MLflow that the results of this CL_HOME were not registered in.

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


def _apply(settings: Settings, plan: RetentionPlan) -> tuple[list[InventoryItem], list[InventoryItem]]:
    """Remove what is planned and log each item; first record on the versions what they lose."""
    record_broken_lineage(settings.tracking_uri, plan.broken)
    for loss in plan.broken:
        log_outcome(broken_lineage_sentence(loss))
    removed: list[InventoryItem] = []
    skipped: list[InventoryItem] = []
    for verdict in plan.to_delete:
        is_removed = remove_item(verdict.item)
        (removed if is_removed else skipped).append(verdict.item)
        did = "removed" if is_removed else "skipped, because it is in use now:"
        size, why = readable_size(verdict.item.size_bytes), retention_sentence(verdict)
        get_run_logger().info("%s %s (%s): %s", did, verdict.item.path, size, why)
    forget_ingests(settings.datasets)
    return removed, skipped
