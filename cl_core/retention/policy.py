"""Retention: from what stands and what refers to it, decide what goes, with a reason for each. Nothing is read here.

A version refers to its training and to its snapshot; a training refers to its snapshot; caches, features, scores and
reports go with what they were made from. What no version refers to stays for some days after it was last used.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import Field

from cl_core.refs import Ref
from cl_core.retention.inventory_items import InventoryItem, OldestRun, VersionInputs
from cl_core.specs import Spec

_SHOWN = 12  # Digits of a digest in a sentence.
# Between the server that says when a run began and the disk that says when a thing was used.
_CLOCKS_DIFFER = timedelta(minutes=2)
# Nobody can see from here whether a process of another machine is alive; one that is writes more often than this.
_ELSEWHERE_DAYS = 1


class RetentionSpec(Spec):
    """How long results are kept under CL_HOME. Registered versions themselves are never removed."""

    keep_versions: int = Field(
        5,
        ge=1,
        le=100_000,
        title="Versions kept",
        description="Of each model, what so many of the newest versions were made from stays. What versions with an "
        "alias, and the one that a rollback would bring back, were made from stays in any case. Versions.",
    )
    keep_days: float = Field(
        30,
        ge=0,
        le=36_500,
        title="Days kept",
        description="What no version refers to, such as a failed run's leavings, stays so long after it was last "
        "used. Days.",
    )
    longest_run_days: float = Field(
        14,
        gt=0,
        le=365,
        title="Longest run",
        description="What a running flow may have used stays; one that began longer ago than this counts as dead. "
        "Days.",
    )


class RetentionVerdict(Ref):
    """Whether an item goes."""

    item: InventoryItem
    goes: bool
    reason: str


class BrokenLineage(Ref):
    """A version that loses what it was made from."""

    name: str
    version: int
    sentence: str


class RetentionPlan(Ref):
    """What goes, what stays, and which versions lose what they were made from."""

    verdicts: list[RetentionVerdict]
    broken: list[BrokenLineage]

    @property
    def going(self) -> list[RetentionVerdict]:
        """What goes."""
        return [verdict for verdict in self.verdicts if verdict.goes]


def plan_retention(
    items: Sequence[InventoryItem],
    versions: Sequence[VersionInputs],
    spec: RetentionSpec,
    *,
    now: datetime,
    running: OldestRun | None,
) -> RetentionPlan:
    """Judge everything that stands.

    Args:
        items: All that stands.
        versions: All registered versions of all models.
        spec: How much is kept.
        now: With a time zone, as all times.
        running: The oldest flow run that is still running; None when there is none.
    """
    judge = _Judge(items, versions, spec, now, running)
    verdicts = [
        RetentionVerdict(item=item, goes=goes, reason=reason) for item in items for goes, reason in [judge(item)]
    ]
    gone = [verdict.item for verdict in verdicts if verdict.goes]
    return RetentionPlan(verdicts=verdicts, broken=_broken(gone, versions))


def kept_versions(versions: Sequence[VersionInputs], keep_versions: int) -> dict[tuple[str, int], str]:
    """Why a version's makings are kept, by name and number, for the versions that something speaks for."""
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


class _Judge:
    """Verdicts on single items; what is derived follows what it was made from."""

    def __init__(
        self,
        items: Sequence[InventoryItem],
        versions: Sequence[VersionInputs],
        spec: RetentionSpec,
        now: datetime,
        running: OldestRun | None,
    ) -> None:
        self.spec, self.now, self.running = spec, now, running
        self.versions = {(version.name, version.version): version for version in versions}
        self.held = kept_versions(versions, spec.keep_versions)
        self.used_by_training: dict[str, list[VersionInputs]] = {}
        self.used_by_snapshot: dict[str, list[VersionInputs]] = {}
        for version in versions:
            self.used_by_training.setdefault(version.training, []).append(version)
            self.used_by_snapshot.setdefault(version.snapshot, []).append(version)
        self.trainings = {item.training: item for item in items if item.kind == "training"}
        staying = [item for item in self.trainings.values() if not self(item)[0]]
        self.staying_trainings = {item.training for item in staying}
        self.trained_on = {item.snapshot: item.training for item in staying}
        self.staying_snapshots = {item.snapshot for item in items if item.kind == "snapshot" and not self(item)[0]}

    def __call__(self, item: InventoryItem) -> tuple[bool, str]:
        """Whether it goes, and why."""
        if item.kind == "leavings" and item.finished:
            return True, "left half-written by a process that has ended"
        if item.busy:
            return False, "a process is at work on it"
        if self.running is not None and item.last_used >= self.running.since - _CLOCKS_DIFFER:
            return False, f"used since flow run {self.running.name!r} began, which may still go on"
        if item.kind == "leavings":
            return self._aged(item, "half-written by a process of another machine", at_least=_ELSEWHERE_DAYS)
        if item.kind == "training":
            return self._training(item)
        if item.kind == "snapshot":
            return self._snapshot(item)
        if item.kind == "report":
            return self._report(item)
        if item.kind == "start":
            return self._aged(item, "weights that trainings started from, which MLflow keeps with their version")
        return self._derived(item)

    def _training(self, item: InventoryItem) -> tuple[bool, str]:
        if (found := self._by_versions(self.used_by_training.get(item.training, []), "made")) is not None:
            return found
        return self._aged(item, "no version was made from it" if item.finished else "a failed run's: it has no result")

    def _snapshot(self, item: InventoryItem) -> tuple[bool, str]:
        found = self._by_versions(self.used_by_snapshot.get(item.snapshot, []), "the data of")
        if found is not None and not found[0]:
            return found
        if item.snapshot in self.trained_on:
            return False, f"training {self.trained_on[item.snapshot][:_SHOWN]}, which stays, was made from it"
        return found or self._aged(item, "no version was made from it")

    def _report(self, item: InventoryItem) -> tuple[bool, str]:
        version = self.versions.get((item.model, item.version))
        if version is None:
            return self._aged(item, f"{item.model} has no version {item.version}")
        goes, reason = self._by_versions([version], "about") or (False, "")
        return goes, f"{reason}; MLflow keeps a copy" if goes else reason

    def _derived(self, item: InventoryItem) -> tuple[bool, str]:
        """Caches, features and scores, which can be made again while what they were made from stands."""
        if not item.snapshot:
            return self._aged(item, "does not say what it was made from, and can be made again")
        if item.snapshot not in self.staying_snapshots:
            return True, f"made from snapshot {item.snapshot[:_SHOWN]}, which does not stay"
        if not item.training or item.training in self.staying_trainings:
            return False, f"made from snapshot {item.snapshot[:_SHOWN]}, which stays"
        if (found := self._by_versions(self.used_by_training.get(item.training, []), "of")) is not None:
            return found
        return True, f"made by training {item.training[:_SHOWN]}, which does not stay"

    def _by_versions(self, users: Sequence[VersionInputs], how: str) -> tuple[bool, str] | None:
        """What the versions that refer to it say; None when none does."""
        if not users:
            return None
        for user in users:
            if (reason := self.held.get((user.name, user.version))) is not None:
                return False, f"{how} {reason}"
        names = ", ".join(map(str, users))
        return True, f"{how} {names}, which no alias holds and {self.spec.keep_versions} newer ones follow"

    def _aged(self, item: InventoryItem, what: str, *, at_least: float = 0) -> tuple[bool, str]:
        days, keep_days = (self.now - item.last_used) / timedelta(days=1), max(self.spec.keep_days, at_least)
        if days < keep_days:
            return False, f"{what}; last used {days:.1f} days ago, kept for {keep_days:g}"
        return True, f"{what}; last used {days:.1f} days ago"


def _broken(gone: Sequence[InventoryItem], versions: Sequence[VersionInputs]) -> list[BrokenLineage]:
    snapshots = {item.snapshot for item in gone if item.kind == "snapshot"}
    trainings = {item.training for item in gone if item.kind == "training"}
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
                f"the version still loads, it cannot {' or '.join(cannot)}"
            )
            broken.append(BrokenLineage(name=version.name, version=version.version, sentence=sentence))
    return broken
