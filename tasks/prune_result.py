"""What retention came to, and how people read it: on the terminal, in the log, in Prefect."""

from pathlib import Path

from pydantic import Field

from cl_core.refs import StepResult
from cl_core.retention.inventory_items import InventoryItem, OldestRun
from cl_core.retention.policy import RetentionPlan

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
    going = [verdict.item for verdict in pruned.retention.to_delete] if pruned.dry_run else pruned.removed
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
        for verdict in sorted(pruned.retention.to_delete, key=lambda verdict: -verdict.item.size_bytes)
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
