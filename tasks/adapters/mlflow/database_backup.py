"""A copy of MLflow's database, made in the transaction that is about to change it."""

import contextlib
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_core import artifact_dir

if TYPE_CHECKING:
    from sqlalchemy import Connection

SQLITE_FILE = "mlflow.db"


def back_up(connection: "Connection", folder: Path, *, tables: Sequence[str]) -> Path:
    """Copy the database into a new artifact directory; other processes write to it only after the transaction.

    Of SQLite, it is the whole database; of PostgreSQL, the tables to be changed, as CSV files that its COPY reads.

    Args:
        connection: Without any statement so far.
        folder: That the directory is made in; its name is the time.
        tables: That the transaction changes.

    Raises:
        StorageFullError: When the disk is full.
    """
    final = folder / f"mlflow-{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%f}"
    with artifact_dir.staging(folder) as staged:
        database: Any = connection.connection.dbapi_connection
        if isinstance(database, sqlite3.Connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            _copy_sqlite(Path(connection.engine.url.database or ""), staged / SQLITE_FILE)
        else:
            connection.exec_driver_sql(f"LOCK TABLE {', '.join(tables)} IN SHARE ROW EXCLUSIVE MODE")
            for table in tables:
                _copy_table(database, table, staged / f"{table}.csv")
        artifact_dir.publish(staged, final, {"tables": list(tables)})
    return final


def _copy_sqlite(database: Path, file: Path) -> None:
    # With a connection of its own: one that writes cannot be copied from.
    with contextlib.closing(sqlite3.connect(database)) as source, contextlib.closing(sqlite3.connect(file)) as copy:
        source.backup(copy)


def _copy_table(database: Any, table: str, file: Path) -> None:
    with database.cursor().copy(f"COPY {table} TO STDOUT WITH (FORMAT csv, HEADER)") as rows, file.open("wb") as out:
        for block in rows:
            out.write(block)
