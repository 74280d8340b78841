"""Decide from the inventory and the registered versions what to delete, with a reason for each item.

A version refers to its training and to its snapshot; a training refers to its snapshot. Caches, features, scores and
reports are deleted with their inputs. Items that no version refers to are kept for some days after their last use.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from pydantic import AliasChoices, Field

from cl_core.refs import Reason, Ref
from cl_core.registry import Described
from cl_core.retention.inventory_items import InventoryItem, OldestRun, VersionInputs

Deleted = Literal["incomplete", "versions_superseded", "training_deleted", "snapshot_deleted", "unused"]
Kept = Literal["in_use", "used_by_run", "version_kept", "training_kept", "snapshot_kept", "used_recently"]

# Between the server that says when a run began and the disk that says when an artifact was used.
_CLOCKS_DIFFER = timedelta(minutes=2)
# Whether a process of another machine is alive cannot be seen from here; a living one writes more often than this.
_ELSEWHERE_DAYS = 1


class RetentionSpec(Described):
    """How long results are kept under CL_HOME. Registered versions themselves are never removed."""

    keep_versions: int = Field(5, ge=1, le=100_000, title="Versions kept")
    """The inputs of so many of the newest versions of each model are kept. The inputs of versions with an alias, and of
    the version that a rollback would restore, are always kept. Versions."""
    keep_days: float = Field(30, ge=0, le=36_500, title="Days kept")
    """Artifacts that no version refers to, such as those of failed runs, are kept so long after their last use.
    Days."""
    longest_run_days: float = Field(14, gt=0, le=365, title="Longest run")
    """Artifacts that a running flow may use are kept; a run that began longer ago counts as dead. Days."""


class RetentionReason(Reason):
    """Why an item is deleted or kept."""

    code: Deleted | Kept | Literal["stored"]
    versions: list[VersionInputs] = Field([], description="Versions that refer to it.")
    newest: int = Field(0, description="How many of the newest versions keep their inputs; 0 if it is of an older one.")
    training: str = Field("", description="Digest of a kept training that was made from it.")
    run: str = Field("", description="Name of a flow run that may still use it.")
    days: float = Field(0, description="Days since its last use.")
    keep_days: float = Field(0, description="Days that it is kept after its last use.")

    @property
    def deletes(self) -> bool:
        """Return whether the item is deleted."""
        return self.code in get_args(Deleted)


class RetentionVerdict(Ref):
    """Whether to delete an item, and why."""

    item: InventoryItem
    delete: bool
    reason: RetentionReason


class BrokenLineage(Ref):
    """A version that loses some of its inputs."""

    name: str
    version: int
    training: str = Field("", description="Digest of its training, if the checkpoint is lost.")
    snapshot: str = Field("", description="Digest of its training data, if they are lost.")
    stored: str = Field(
        "", validation_alias=AliasChoices("stored", "sentence"), description="What an earlier version stored of it."
    )


class RetentionPlan(Ref):
    """What to delete, what to keep, and which versions lose some of their inputs."""

    verdicts: list[RetentionVerdict]
    broken: list[BrokenLineage]

    @property
    def to_delete(self) -> list[RetentionVerdict]:
        """Return the items to delete."""
        return [verdict for verdict in self.verdicts if verdict.delete]


def plan_retention(
    items: Sequence[InventoryItem],
    versions: Sequence[VersionInputs],
    spec: RetentionSpec,
    *,
    now: datetime,
    running: OldestRun | None,
) -> RetentionPlan:
    """Decide about every item; `running` is the oldest flow run that is still running. Times have a time zone."""
    judge = _Judge(items, versions, spec, now=now, running=running)
    verdicts = [
        RetentionVerdict(item=item, delete=reason.deletes, reason=reason)
        for item, reason in zip(items, map(judge, items), strict=True)
    ]
    deleted = [verdict.item for verdict in verdicts if verdict.delete]
    return RetentionPlan(verdicts=verdicts, broken=_broken(deleted, versions))


def kept_versions(versions: Sequence[VersionInputs], keep_versions: int) -> dict[tuple[str, int], RetentionReason]:
    """Return why a version's inputs are kept, by name and number; without the versions whose inputs are not."""
    reasons = {}
    seen: Counter[str] = Counter()
    for version in sorted(versions, key=lambda version: -version.version):
        seen[version.name] += 1
        newest = keep_versions if seen[version.name] <= keep_versions else 0
        if newest or version.held_by:
            reason = RetentionReason(code="version_kept", versions=[version], newest=newest)
            reasons[version.name, version.version] = reason
    return reasons


@dataclass
class _Judge:
    """Decides about single items; derived items follow their inputs."""

    items: Sequence[InventoryItem]
    all_versions: Sequence[VersionInputs]
    spec: RetentionSpec
    now: datetime
    running: OldestRun | None

    def __post_init__(self) -> None:
        self.versions = {(version.name, version.version): version for version in self.all_versions}
        self.kept = kept_versions(self.all_versions, self.spec.keep_versions)
        self.users: dict[tuple[str, str], list[VersionInputs]] = defaultdict(list)  # By kind and digest.
        for version in self.all_versions:
            self.users["training", version.training].append(version)
            self.users["snapshot", version.snapshot].append(version)
        kept = [item for item in self.items if item.kind == "training" and not self(item).deletes]
        self.kept_trainings = {item.training for item in kept}
        self.trained_on = {item.snapshot: item.training for item in kept}
        self.kept_snapshots = {
            item.snapshot for item in self.items if item.kind == "snapshot" and not self(item).deletes
        }

    def __call__(self, item: InventoryItem) -> RetentionReason:
        """Return why to delete an item, or to keep it."""
        if item.kind == "orphan" and item.finished:
            return RetentionReason(code="incomplete")
        if item.busy:
            return RetentionReason(code="in_use")
        if self.running is not None and item.last_used >= self.running.since - _CLOCKS_DIFFER:
            return RetentionReason(code="used_by_run", run=self.running.name)
        if item.kind == "orphan":
            return self._aged(item, at_least=_ELSEWHERE_DAYS)
        decide: dict[str, Callable[[InventoryItem], RetentionReason]] = {
            "training": self._training,
            "snapshot": self._snapshot,
            "report": self._report,
            "initial weights": self._aged,
        }
        return decide.get(item.kind, self._derived)(item)

    def _training(self, item: InventoryItem) -> RetentionReason:
        return self._by_versions(self.users["training", item.training]) or self._aged(item)

    def _snapshot(self, item: InventoryItem) -> RetentionReason:
        reason = self._by_versions(self.users["snapshot", item.snapshot])
        if (reason is None or reason.deletes) and item.snapshot in self.trained_on:
            return RetentionReason(code="training_kept", training=self.trained_on[item.snapshot])
        return reason or self._aged(item)

    def _report(self, item: InventoryItem) -> RetentionReason:
        version = self.versions.get((item.model, item.version))
        return self._by_versions([version] if version else []) or self._aged(item)

    def _derived(self, item: InventoryItem) -> RetentionReason:
        """Decide about caches, features and scores, which can be made again from their inputs."""
        if not item.snapshot:
            return self._aged(item)
        if item.snapshot not in self.kept_snapshots:
            return RetentionReason(code="snapshot_deleted")
        if not item.training or item.training in self.kept_trainings:
            return RetentionReason(code="snapshot_kept")
        return self._by_versions(self.users["training", item.training]) or RetentionReason(code="training_deleted")

    def _by_versions(self, users: Sequence[VersionInputs]) -> RetentionReason | None:
        """Decide by the versions that refer to it; None when none does."""
        if not users:
            return None
        for user in users:
            if (reason := self.kept.get((user.name, user.version))) is not None:
                return reason
        return RetentionReason(code="versions_superseded", versions=users, newest=self.spec.keep_versions)

    def _aged(self, item: InventoryItem, *, at_least: float = 0) -> RetentionReason:
        days, keep_days = (self.now - item.last_used) / timedelta(days=1), max(self.spec.keep_days, at_least)
        return RetentionReason(code="used_recently" if days < keep_days else "unused", days=days, keep_days=keep_days)


def _broken(deleted: Sequence[InventoryItem], versions: Sequence[VersionInputs]) -> list[BrokenLineage]:
    snapshots = {item.snapshot for item in deleted if item.kind == "snapshot"}
    trainings = {item.training for item in deleted if item.kind == "training"}
    losses = [
        BrokenLineage(
            name=version.name,
            version=version.version,
            training=version.training if version.training in trainings else "",
            snapshot=version.snapshot if version.snapshot in snapshots else "",
        )
        for version in versions
    ]
    return [loss for loss in losses if loss.training or loss.snapshot]
