"""The folders and files under CL_HOME, and the columns of the Parquet files."""

import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa

from cl_core.data import snapshot
from cl_core.embedding.embeddings_file import embeddings_table
from reference.markdown import code, document, first_line, table
from tasks.runtime.settings import Settings

_DIMENSIONS = 512
# What lies in the folders that the settings name, and beside them.
_INSIDE = {
    "backups": {"mlflow-TIME/": ""},
    "datasets": {
        "NAME/DIGEST/": "a snapshot",
        "NAME/DIGEST/manifest.json": "numbers, and a sha256 of every other file",
        "NAME/DIGEST/train/part-NNNNN.parquet": "training samples",
        "NAME/DIGEST/test/part-NNNNN.parquet": "test samples",
        "NAME/DIGEST/sources.parquet": "where each sample came from",
        "NAME/DIGEST/quarantine.parquet": "rejected inputs, with a reason code",
        "NAME/ingests/": "index of inputs, for incremental ingestion",
    },
    "evaluations": {"DIGEST/": "an assessment"},
    "prefect": {"": "Prefect's own home and database"},
    "reports": {"MODEL/version-N-*.html": ""},
    "trainings": {
        "DIGEST/checkpoints/step-NNNNNNNN/": "weights and optimizer state; safetensors, JSON",
        "DIGEST/progress.jsonl": "one line per progress report",
    },
}


def page() -> str:
    """Return the page of the files."""
    embeddings = embeddings_table([], np.empty((0, _DIMENSIONS), np.float32)).schema
    return document(
        "Files under CL_HOME",
        "`CL_HOME` (default `./.counterpoint`) holds everything that Counterpoint writes. Folders named DIGEST are "
        "artifact directories: complete, checksummed, and never changed after they appear. "
        "`cl prune` deletes what nothing refers to. [Back up and restore](../how-to/back-up-and-restore.md) says what "
        "cannot be made again.",
        "\n".join(("```text", "CL_HOME", *_tree(), "```")),
        "## Folders",
        table(("path", "content"), sorted((code(f"CL_HOME/{path}"), text) for path, text in _places().items())),
        "## Columns of `train/part-NNNNN.parquet` and `test/part-NNNNN.parquet`",
        _columns(snapshot.rows_schema(["image"], grouped=False)),
        "## Columns of `sources.parquet`",
        _columns(snapshot.SOURCES_TABLE),
        "## Columns of `quarantine.parquet`",
        _columns(snapshot.QUARANTINE_TABLE),
        "## Columns of a file written by `cl embed`",
        "The model decides D, the number of dimensions.",
        _columns(embeddings).replace(f"[{_DIMENSIONS}]", "[D]"),
    )


def _places() -> dict[str, str]:
    """Return what each file and folder under CL_HOME holds that the settings name."""
    with mock.patch.dict(os.environ, {"CL_HOME": "/CL_HOME"}):
        settings = Settings.from_environment()
    places: dict[str, str] = {}
    for name, thing in vars(Settings).items():
        if not isinstance(thing, property | cached_property):
            continue
        value = getattr(settings, name)
        if isinstance(value, Path) and value.is_relative_to(settings.home):
            places.setdefault(value.relative_to(settings.home).as_posix(), first_line(thing))
    return places


def _tree() -> list[str]:
    """Return the lines of a tree of the places, with what lies in them."""
    paths = {f"{place}{'' if Path(place).suffix else '/'}": "" for place in (*_places(), *_INSIDE)}
    paths |= {f"{place}/{path}": text for place, inside in _INSIDE.items() for path, text in inside.items()}
    nodes: dict[str, dict[str, Any]] = {}
    for path in sorted(paths):
        node = nodes
        for part in re.findall(r"[^/]+/?", path):
            node = node.setdefault(part, {})
    lines = list(_lines(nodes, "", ""))
    width = max(len(line) for line, path in lines if paths.get(path))
    return [f"{line:{width}}  {paths[path]}" if paths.get(path) else line for line, path in lines]


def _lines(nodes: dict[str, dict[str, Any]], indent: str, parent: str) -> Iterator[tuple[str, str]]:
    """Yield each line of a tree, with the path that it shows; a folder of one entry is in the line of this."""
    for number, (name, inside) in enumerate(nodes.items()):
        is_last = number == len(nodes) - 1
        while len(inside) == 1:
            ((single, below),) = inside.items()
            name, inside = name + single, below
        yield f"{indent}{'└── ' if is_last else '├── '}{name}", parent + name
        yield from _lines(inside, indent + ("    " if is_last else "│   "), parent + name)


def _columns(columns: pa.Schema) -> str:
    rows = [(code(field.name), str(field.type), "yes" if field.nullable else "no") for field in columns]
    return table(("column", "type", "may be null"), rows)
