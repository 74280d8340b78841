"""Locations in MLflow's database that do not fit this home: `cl up` refuses them, and `cl doctor` repairs them."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from cl_core.errors import InputError, StoreUnreachableError
from tasks.adapters.mlflow.artifact_locations import (
    Relocation,
    moved_experiments,
    old_places,
    proxied_experiments,
    refuse_moved,
    relocate,
)
from tasks.adapters.mlflow.connection import errors_translated, redacted_uri
from tasks.runtime.inventory import Diagnosis
from tasks.runtime.locks import acquire_lock, is_locked, recorded_owner
from tasks.runtime.settings import Settings
from tasks.server.services import mlflow_database_url


def check_served_home(settings: Settings) -> None:
    """Refuse to start servers over a database that records artifacts in another home.

    Raises:
        InputError: Names that home.
    """
    if settings.database_url or settings.mlflow_database.exists():
        with suppress(SQLAlchemyError):  # The server's log will say what is wrong with it.
            refuse_moved(mlflow_database_url(settings), settings)


def diagnose_locations(settings: Settings) -> Iterator[Diagnosis]:
    """Return artifacts that are recorded in another home, or that can be reached only through a server."""
    address = mlflow_database_url(settings)
    if not settings.database_url and not settings.mlflow_database.exists():
        return
    where = redacted_uri(address)
    try:
        with errors_translated(address):
            moved = moved_experiments(address, settings.mlflow_artifacts)
            proxied = proxied_experiments(address, settings.mlflow_artifacts)
    except StoreUnreachableError as error:
        yield Diagnosis(f"locations of artifacts were not checked: {error}", where, "start it")
        return
    except SQLAlchemyError:
        return  # The check of the registry says what is wrong with the database.
    for one in (one for one in moved if one.is_stranded):
        yield Diagnosis(
            f"CL_HOME has moved, but artifacts are still in {one.recorded_folder}", where, f"move them to {one.here}"
        )
    if here := [one for one in moved if not one.is_stranded]:
        yield _diagnosis(
            settings,
            f"CL_HOME has moved: MLflow's artifacts are recorded under {old_places(here)}",
            f"backs up MLflow's database and records the artifacts under {settings.home}",
            here,
        )
    # Where other machines use the server, artifacts have to go through it.
    if proxied and not settings.mlflow_users.exists():
        yield _diagnosis(
            settings,
            f"artifacts of {len(proxied)} experiments can be loaded only while the MLflow server of `cl up` runs",
            "backs up MLflow's database and records the artifacts as files, which other machines cannot read",
            proxied,
        )


def _diagnosis(settings: Settings, what: str, remedy: str, relocations: list[Relocation]) -> Diagnosis:
    where = redacted_uri(mlflow_database_url(settings))
    if is_locked(settings.up_lock):
        return Diagnosis(what, where, "stop `cl up` (`cl down`), and run `cl doctor --fix`")
    return Diagnosis(what, where, remedy, partial(_relocate, settings, relocations))


def _relocate(settings: Settings, relocations: list[Relocation]) -> None:
    """Rewrite the locations while no `cl up` of this home runs or starts."""
    lock, address = FileLock(settings.up_lock), mlflow_database_url(settings)
    try:
        acquire_lock(lock, timeout_s=0)
    except Timeout as error:
        raise InputError(
            "`cl up` has started for this CL_HOME; stop it (`cl down`), and run the command again"
        ) from error
    try:
        with recorded_owner(settings.up_lock, "`cl doctor --fix`"), errors_translated(address):
            relocate(address, relocations, settings.backups)
    finally:
        lock.release()
