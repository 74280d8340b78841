"""The folders and files under CL_HOME, and the columns of the Parquet files."""

import os
from functools import cached_property
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa

from cl_core.data import snapshot
from cl_core.embedding.embeddings_file import embeddings_table
from reference.markdown import code, document, first_line, table
from tasks.runtime.settings import Settings

_DIMENSIONS = 512
_TREE = """
```text
CL_HOME
├── datasets/NAME/DIGEST/            a snapshot
│   ├── manifest.json                numbers, and a sha256 of every other file
│   ├── train/part-NNNNN.parquet
│   ├── test/part-NNNNN.parquet
│   ├── sources.parquet              where each sample came from
│   └── quarantine.parquet           rejected inputs, with a reason code
├── datasets/NAME/ingests/           index of inputs, for incremental ingestion
├── trainings/DIGEST/
│   ├── checkpoints/step-NNNNNNNN/   weights and optimizer state; safetensors, JSON
│   └── progress.jsonl               one line per progress report
├── evaluations/DIGEST/              scores, and predictions for each test sample
├── caches/, embeddings/             training caches; features
├── reports/MODEL/version-N-*.html
├── mlflow.db, mlflow-artifacts/     MLflow, unless MLFLOW_TRACKING_URI names a server
├── backups/mlflow-TIME/             MLflow's database before `cl doctor --fix` changed it
└── prefect/                         Prefect's own home and database
```
"""


def page() -> str:
    """Return the page of the files."""
    embeddings = embeddings_table([], np.empty((0, _DIMENSIONS), np.float32)).schema
    return document(
        "Files under CL_HOME",
        "`CL_HOME` (default `./.counterpoint`) holds everything that Counterpoint writes. Folders named DIGEST are "
        "artifact directories: complete, checksummed, and never changed after they appear. "
        "`cl prune` deletes what nothing refers to. [Back up and restore](../how-to/back-up-and-restore.md) says what "
        "cannot be made again.",
        _TREE,
        "## Folders",
        table(("path", "content"), _folders()),
        "## Columns of `train/part-NNNNN.parquet` and `test/part-NNNNN.parquet`",
        _columns(snapshot.rows_schema("image", grouped=False)),
        "## Columns of `sources.parquet`",
        _columns(snapshot.SOURCES_TABLE),
        "## Columns of `quarantine.parquet`",
        _columns(snapshot.QUARANTINE_TABLE),
        "## Columns of a file written by `cl embed`",
        "The model decides D, the number of dimensions.",
        _columns(embeddings).replace(f"[{_DIMENSIONS}]", "[D]"),
    )


def _folders() -> list[tuple[str, str]]:
    with mock.patch.dict(os.environ, {"CL_HOME": "/CL_HOME"}):
        settings = Settings.from_environment()
    rows: dict[str, str] = {}
    for name, thing in vars(Settings).items():
        if not isinstance(thing, property | cached_property):
            continue
        value = getattr(settings, name)
        if isinstance(value, Path) and value.is_relative_to(settings.home):
            rows.setdefault(code(value.relative_to("/")), first_line(thing))
    return sorted(rows.items())


def _columns(columns: pa.Schema) -> str:
    rows = [(code(field.name), str(field.type), "yes" if field.nullable else "no") for field in columns]
    return table(("column", "type", "may be null"), rows)
