"""What changed from one snapshot of a dataset to the next, in counts."""

from pathlib import Path

from pydantic import ValidationError

from cl_core.artifact_dir import MANIFEST, manifest_of
from cl_core.data.snapshot import SnapshotProfile
from cl_core.errors import IntegrityError


def earlier_facts(path: Path) -> SnapshotProfile | None:
    """The facts of the newest snapshot of the same dataset that is older than the one at `path`; None before the first.

    Args:
        path: A snapshot's folder, `datasets/NAME/DIGEST`.
    """
    written = (path / MANIFEST).stat().st_mtime_ns
    others = [(other.stat().st_mtime_ns, other.parent) for other in path.parent.glob(f"*/{MANIFEST}")]
    for _, other in sorted((pair for pair in others if pair[0] < written and pair[1] != path), reverse=True):
        try:
            return SnapshotProfile.model_validate(manifest_of(other))
        except (IntegrityError, ValidationError):
            continue
    return None


def changes(before: SnapshotProfile | None, facts: SnapshotProfile) -> str:
    """What is more, fewer, new or gone, in one sentence.

    Args:
        before: Of the snapshot before; None when there is none.
        facts: Of the snapshot.
    """
    if before is None:
        return f"the first snapshot of {facts.name} that is kept here"
    found = [
        _count(f"{split} samples", before.rows.get(split, 0), rows)
        for split, rows in sorted(facts.rows.items(), reverse=True)
    ]
    for what, classes in {
        "new": set(facts.classes) - set(before.classes),
        "gone": set(before.classes) - set(facts.classes),
    }.items():
        found += [f"{what} classes: {', '.join(sorted(classes))}"] if classes else []
    for name in sorted(set(facts.classes) & set(before.classes)):
        was, now = (sum(split.get(name, 0) for split in one.per_class.values()) for one in (before, facts))
        found.append(_count(f"samples of {name}", was, now))
    for reason in sorted(set(before.quarantined) | set(facts.quarantined)):
        was, now = (one.quarantined.get(reason, 0) for one in (before, facts))
        found.append(_count(f"quarantined as {reason}", was, now))
    found.append(_count("copies merged", before.duplicates, facts.duplicates))
    changed = "; ".join(filter(None, found)) or "as many samples of each class, though not the same ones"
    return f"since snapshot {before.digest[:12]}: {changed}"


def _count(what: str, was: int, now: int) -> str:
    return f"{what} {was:,} to {now:,} ({now - was:+,})" if was != now else ""
