"""Decide from the inventory and the registered versions what to delete, with a reason for each item.

A version refers to its training and to its snapshot; a training refers to its snapshot. Caches, features, scores and
reports are deleted with their inputs. Items that no version refers to are kept for some days after their last use.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import Field

from cl_core.refs import Ref
from cl_core.registry import Described
from cl_core.retention.inventory_items import InventoryItem, OldestRun, VersionInputs

_SHOWN = 12  # Digits of a digest in a sentence.
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


class RetentionVerdict(Ref):
    """Whether to delete an item, and why."""

    item: InventoryItem
    delete: bool
    reason: str


class BrokenLineage(Ref):
    """A version that loses some of its inputs."""

    name: str
    version: int
    sentence: str


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
    verdicts = []
    for item in items:
        delete, reason = judge(item)
        verdicts.append(RetentionVerdict(item=item, delete=delete, reason=reason))
    deleted = [verdict.item for verdict in verdicts if verdict.delete]
    return RetentionPlan(verdicts=verdicts, broken=_broken(deleted, versions))


def kept_versions(versions: Sequence[VersionInputs], keep_versions: int) -> dict[tuple[str, int], str]:
    """Return why a version's inputs are kept, by name and number; without the versions whose inputs are not."""
    reasons = {}
    seen: Counter[str] = Counter()
    for version in sorted(versions, key=lambda version: -version.version):
        because = [*version.held_by]
        seen[version.name] += 1
        if seen[version.name] <= keep_versions:
            because.append(f"among the newest {keep_versions}" if keep_versions > 1 else "the newest")
        if because:
            reasons[version.name, version.version] = f"{version} ({', '.join(because)})"
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
        kept = [item for item in self.items if item.kind == "training" and not self(item)[0]]
        self.kept_trainings = {item.training for item in kept}
        self.trained_on = {item.snapshot: item.training for item in kept}
        self.kept_snapshots = {item.snapshot for item in self.items if item.kind == "snapshot" and not self(item)[0]}

    def __call__(self, item: InventoryItem) -> tuple[bool, str]:
        """Return whether to delete an item, and why."""
        if item.kind == "orphan" and item.finished:
            return True, "left incomplete by a process that has ended"
        if item.busy:
            return False, "in use by a process"
        if self.running is not None and item.last_used >= self.running.since - _CLOCKS_DIFFER:
            return False, f"used since flow run {self.running.name!r} began, which may still be running"
        if item.kind == "orphan":
            return self._aged(item, "left incomplete by a process of another machine", at_least=_ELSEWHERE_DAYS)
        if item.kind == "initial weights":
            return self._aged(item, "initial weights of trainings; MLflow keeps them with their version")
        decide = {"training": self._training, "snapshot": self._snapshot, "report": self._report}
        return decide.get(item.kind, self._derived)(item)

    def _training(self, item: InventoryItem) -> tuple[bool, str]:
        unused = "no version was made from it" if item.finished else "of a failed run, without a result"
        return self._by_versions(self.users["training", item.training], "made") or self._aged(item, unused)

    def _snapshot(self, item: InventoryItem) -> tuple[bool, str]:
        verdict = self._by_versions(self.users["snapshot", item.snapshot], "data of")
        if (verdict is None or verdict[0]) and item.snapshot in self.trained_on:
            return False, f"training {self.trained_on[item.snapshot][:_SHOWN]}, which is kept, was made from it"
        return verdict or self._aged(item, "no version was made from it")

    def _report(self, item: InventoryItem) -> tuple[bool, str]:
        version = self.versions.get((item.model, item.version))
        if version is None:
            return self._aged(item, f"{item.model} has no version {item.version}")
        delete, reason = self._by_versions([version], "about") or (False, "")
        return delete, f"{reason}; MLflow keeps a copy" if delete else reason

    def _derived(self, item: InventoryItem) -> tuple[bool, str]:
        """Decide about caches, features and scores, which can be made again from their inputs."""
        if not item.snapshot:
            return self._aged(item, "of unknown inputs, and can be made again")
        if item.snapshot not in self.kept_snapshots:
            return True, f"made from snapshot {item.snapshot[:_SHOWN]}, which is deleted"
        if not item.training or item.training in self.kept_trainings:
            return False, f"made from snapshot {item.snapshot[:_SHOWN]}, which is kept"
        deleted = True, f"made by training {item.training[:_SHOWN]}, which is deleted"
        return self._by_versions(self.users["training", item.training], "of") or deleted

    def _by_versions(self, users: Sequence[VersionInputs], how: str) -> tuple[bool, str] | None:
        """Decide by the versions that refer to it; None when none does."""
        if not users:
            return None
        for user in users:
            if (reason := self.kept.get((user.name, user.version))) is not None:
                return False, f"{how} {reason}"
        names = ", ".join(map(str, users))
        return True, f"{how} {names}: no alias, and {self.spec.keep_versions} newer versions"

    def _aged(self, item: InventoryItem, what: str, *, at_least: float = 0) -> tuple[bool, str]:
        days, keep_days = (self.now - item.last_used) / timedelta(days=1), max(self.spec.keep_days, at_least)
        if days < keep_days:
            return False, f"{what}; last used {days:.1f} days ago, kept for {keep_days:g}"
        return True, f"{what}; last used {days:.1f} days ago"


def _broken(deleted: Sequence[InventoryItem], versions: Sequence[VersionInputs]) -> list[BrokenLineage]:
    snapshots = {item.snapshot for item in deleted if item.kind == "snapshot"}
    trainings = {item.training for item in deleted if item.kind == "training"}
    broken = []
    for version in versions:
        lost, cannot = [], []
        if version.training in trainings:
            lost.append(f"checkpoint (training {version.training[:_SHOWN]})")
            cannot.append("be resumed")
        if version.snapshot in snapshots:
            lost.append(f"training data snapshot {version.snapshot[:_SHOWN]}")
            cannot = ["be resumed", "re-evaluated on its own data"]
        if lost:
            sentence = (
                f"lineage of {version}: its {' and its '.join(lost)} {'is' if len(lost) == 1 else 'are'} removed; "
                f"the version still loads, but it cannot {' or '.join(cannot)}"
            )
            broken.append(BrokenLineage(name=version.name, version=version.version, sentence=sentence))
    return broken
