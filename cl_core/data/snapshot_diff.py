"""Describe what changed from one snapshot of a dataset to the next, in counts."""

import contextlib
from pathlib import Path

from cl_core.artifact_dir import MANIFEST
from cl_core.data.snapshot import SnapshotProfile, snapshot_profile
from cl_core.errors import IntegrityError


def previous_profile(path: Path) -> SnapshotProfile | None:
    """Return the profile of the newest older snapshot of the same dataset; None for the first."""
    written = (path / MANIFEST).stat().st_mtime_ns
    others = [(other.stat().st_mtime_ns, other.parent) for other in path.parent.glob(f"*/{MANIFEST}")]
    for _, other in sorted((pair for pair in others if pair[0] < written and pair[1] != path), reverse=True):
        with contextlib.suppress(IntegrityError):
            return snapshot_profile(other)
    return None


def describe_changes(before: SnapshotProfile | None, profile: SnapshotProfile) -> str:
    """Describe in one sentence what is more, fewer, new or removed."""
    if before is None:
        return f"no earlier snapshot of {profile.name}"
    differences = [
        _count(f"{split} samples", before.rows.get(split, 0), rows)
        for split, rows in sorted(profile.rows.items(), reverse=True)
    ]
    for what, classes in {
        "new": set(profile.classes) - set(before.classes),
        "removed": set(before.classes) - set(profile.classes),
    }.items():
        differences += [f"{what} classes: {', '.join(sorted(classes))}"] if classes else []
    for name in sorted(set(profile.classes) & set(before.classes)):
        was, now = (sum(split.get(name, 0) for split in one.per_class.values()) for one in (before, profile))
        differences.append(_count(f"samples of {name}", was, now))
    for reason in sorted(set(before.quarantined) | set(profile.quarantined)):
        was, now = (one.quarantined.get(reason, 0) for one in (before, profile))
        differences.append(_count(f"quarantined as {reason}", was, now))
    differences.append(_count("copies merged", before.duplicates, profile.duplicates))
    changed = "; ".join(filter(None, differences)) or "other samples, the same number of each class"
    return f"since snapshot {before.digest[:12]}: {changed}"


def _count(what: str, was: int, now: int) -> str:
    return f"{what} {was:,} to {now:,} ({now - was:+,})" if was != now else ""
