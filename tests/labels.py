"""Snapshots with other counts of labels than they hold: what is decided before a training goes by the counts alone."""

import json
from pathlib import Path

from cl_core.refs import SnapshotRef


def with_labels(snapshot: SnapshotRef, folder: Path, **per_class: dict[str, int]) -> SnapshotRef:
    """Return a snapshot in `folder` whose manifest has these labeled samples per class, split by split."""
    manifest = json.loads((snapshot.path / "manifest.json").read_text())
    manifest["per_class"] |= per_class
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return snapshot.model_copy(update={"path": folder})
