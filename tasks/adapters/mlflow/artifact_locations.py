"""Where the database of this home's MLflow records artifacts: found to be another place, and rewritten.

MLflow records absolute locations. They are wrong once CL_HOME has been moved or is mounted elsewhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from cl_core.errors import InputError
from tasks.adapters.mlflow.compat import DATASET_SOURCE, DATASET_SOURCE_START, LOCATIONS
from tasks.adapters.mlflow.database_backup import back_up
from tasks.runtime.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

PROXIED = "mlflow-artifacts:/"
"""What locations start with that only MLflow's server can resolve."""


@dataclass(frozen=True)
class Relocation:
    """An experiment whose artifacts are recorded in another way than they can be reached."""

    recorded: str
    here: str

    @property
    def recorded_folder(self) -> Path | None:
        """Return the folder that is recorded; None for any other address."""
        return _folder(self.recorded)

    @property
    def is_stranded(self) -> bool:
        """Whether the artifacts were left behind: they lie where they are recorded, and not here."""
        folder, here = self.recorded_folder, _folder(self.here)
        return folder is not None and folder.is_dir() and here is not None and not here.is_dir()


def check_not_moved(settings: Settings, tracking_uri: str) -> None:
    """Refuse to open the MLflow of a home that has moved: MLflow would read and write at the old place.

    Only the database in the home is looked at. The server of `cl up` is checked when it starts; others are not ours.

    Raises:
        InputError: When MLflow's database records artifacts in another home.
    """
    database = Path(tracking_uri.removeprefix("sqlite:///"))
    if database.exists() and settings.mlflow_database.exists() and database.samefile(settings.mlflow_database):
        refuse_moved(tracking_uri, settings)


def refuse_moved(address: str, settings: Settings) -> None:
    """Refuse a database that records artifacts in another home.

    Raises:
        InputError: Names that home.
    """
    if places := old_places(moved_experiments(address, settings.mlflow_artifacts)):
        raise InputError(
            f"CL_HOME has moved: MLflow's artifacts are recorded under {places}, and CL_HOME is {settings.home}; stop "
            "`cl up` if it runs, and rewrite their locations with `cl doctor --fix`, or move the folder back"
        )


def old_places(moved: Iterable[Relocation]) -> str:
    """Return the folders that artifacts of other homes are recorded under, separated by commas."""
    return ", ".join(sorted({str(folder.parent) for one in moved if (folder := one.recorded_folder)}))


def moved_experiments(address: str, root: Path) -> list[Relocation]:
    """Return the experiments whose artifacts are recorded in a folder of MLflow's artifacts of another home.

    Args:
        address: Of the database, with its password.
        root: Folder of the artifacts of this home.
    """
    relocations = []
    for recorded in _experiment_locations(address):
        folder = _folder(recorded)
        if folder and folder.parent.name == root.name and not _is_same(folder.parent, root):
            here = root / folder.name
            relocations.append(Relocation(recorded, here.as_uri() if recorded.startswith("file:") else str(here)))
    return relocations


def proxied_experiments(address: str, root: Path) -> list[Relocation]:
    """Return the experiments whose artifacts can be reached only through a server, and lie in this home.

    Args:
        address: Of the database, with its password.
        root: Folder of the artifacts of this home.
    """
    proxied = [place for place in _experiment_locations(address) if place.startswith(PROXIED)]
    folders = {recorded: root / unquote(recorded.removeprefix(PROXIED)) for recorded in proxied}
    return [Relocation(recorded, folder.as_uri()) for recorded, folder in folders.items() if folder.is_dir()]


def relocate(address: str, relocations: Sequence[Relocation], backups: Path) -> None:
    """Back up the database, and record here what it records at or below the old places, in one transaction.

    Args:
        address: Of the database, with its password.
        relocations: Of experiments; their runs, models and versions follow them.
        backups: Folder that the copy is made in; see `back_up`.
    """
    import sqlalchemy

    changes = [(*column, one.recorded, one.here) for one in relocations for column in LOCATIONS]
    for old, new in sorted({homes for one in relocations if (homes := _homes(one))}):
        changes.append((*DATASET_SOURCE, f"{DATASET_SOURCE_START}{old}", f"{DATASET_SOURCE_START}{new}"))
    engine = sqlalchemy.create_engine(address)
    try:
        with engine.begin() as connection:
            back_up(connection, backups, tables=sorted({table for table, *_ in changes}))
            for change in changes:
                _replace(connection, *change)
    finally:
        engine.dispose()


def _replace(connection: "Connection", table: str, column: str, old: str, new: str) -> None:
    """Let a column's values that are a location, or lie below it, begin with another one."""
    import sqlalchemy as sa

    text = sa.column(column, sa.String)
    # LIKE would ignore case in SQLite.
    is_below = sa.func.substr(text, 1, len(old) + 1) == f"{old}/"
    moved = sa.literal(new, sa.String) + sa.func.substr(text, len(old) + 1)
    connection.execute(sa.update(sa.table(table, text)).where(sa.or_(text == old, is_below)).values({text: moved}))


def _experiment_locations(address: str) -> list[str]:
    import sqlalchemy

    (table, column), *_ = LOCATIONS
    engine = sqlalchemy.create_engine(address)
    try:
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table(table):
                return []
            query = sqlalchemy.select(sqlalchemy.column(column, sqlalchemy.String)).select_from(sqlalchemy.table(table))
            return [location for location in connection.scalars(query) if location]
    finally:
        engine.dispose()


def _folder(location: str) -> Path | None:
    """Return the folder of a location, `file:///a%20b` or `/a b`; None for any other address."""
    if location.startswith("/"):
        return Path(location)
    return Path(unquote(urlsplit(location).path)) if location.startswith("file:") else None


def _homes(relocation: Relocation) -> tuple[str, str] | None:
    """Return the addresses of the recorded home and of this one; None unless it has moved."""
    old, new = _folder(relocation.recorded), _folder(relocation.here)
    return (old.parents[1].as_uri(), new.parents[1].as_uri()) if old and new else None


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are one folder: a link to a home has not moved it."""
    return one == other or (one.exists() and other.exists() and one.samefile(other))
