"""The model store: registers versions, moves aliases, and lists and fetches what is registered.

Every public method may be killed at any point and called again: what exists is found, what is missing is added.
"""

import contextlib
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from cl_core import artifact_dir
from cl_core.errors import InfrastructureError, InputError
from cl_core.evaluation.promotion_gate import Gains
from cl_core.modalities._model_input import ModelInput
from cl_core.refs import Decision, EvaluationReport, ModelRef
from cl_core.specs import PromotionSpec
from tasks.adapters.mlflow import champion_decisions, lookup
from tasks.adapters.mlflow.champion_history import last_decision
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.logged_model import copy_model, load_program, model_input, recorded_data
from tasks.adapters.mlflow.model_version import (
    CHAMPION,
    RegisteredData,
    Registration,
    VersionRow,
    model_ref,
    version_row,
)
from tasks.adapters.mlflow.register_version import register_version
from tasks.adapters.mlflow.training_run import fetch_files
from tasks.runtime.locks import is_locked
from tasks.runtime.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import nn

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]*")
_LOCK_TIMEOUT_S = 600


class ModelStore:
    """Registered models at one tracking address.

    Args:
        tracking_uri: `sqlite:////absolute/path.db`, or http(s) of a server.
        artifact_root: Absolute folder for artifacts where no server chooses one; None where a server does.
        work: Folder of this machine for locks and for files before an upload.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path | None, work: Path) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_root = artifact_root
        self.work = work

    def register(self, registration: Registration) -> ModelRef:
        """Register a training as a new version, once; `created` is False when it was registered before.

        Raises:
            InputError: When the name is not valid for a model, or its experiment was deleted.
            StoreUnreachableError: When MLflow does not answer.
            StorageFullError: When a disk is full.
        """
        if not _MODEL_NAME.fullmatch(registration.name):
            raise InputError(
                f"model_name {registration.name!r} cannot name a model; "
                "use letters, digits, dots, dashes, underscores and spaces, and start with a letter or digit"
            )
        with self.locked(registration.name) as client, artifact_dir.staging(self.work) as staged:
            return register_version(client, registration, artifact_root=self.artifact_root, staged=staged)

    def decide(
        self, name: str, version: int, promotion: PromotionSpec, evaluation: EvaluationReport, gains: Gains
    ) -> Decision:
        """Let the gate decide about a challenger, apply the verdict and record it.

        The gate never promotes a version that a person has rolled back. A comparison with a former champion
        decides nothing.

        The gains are paired differences of the deciding score, over the baselines and the champion of the moment.

        Raises:
            InputError: When there is no such model or version.
        """
        with self.locked(name) as client, artifact_dir.staging(self.work) as staged:
            return champion_decisions.decide(client, name, version, promotion, evaluation, gains, staged)

    def promote(self, name: str, version: int, reason: str) -> Decision:
        """Make a version the champion by hand, whatever the gate decided; the reason is recorded with it.

        Raises:
            InputError: When there is no such model or version.
        """
        with self.locked(name) as client, artifact_dir.staging(self.work) as staged:
            return champion_decisions.apply_promotion(client, name, version, reason, staged)

    def rollback(self, name: str, reason: str = "no reason given") -> Decision:
        """Make the champion before the last one the champion again.

        Called again after a kill, it finishes the first rollback and begins no second one.

        Raises:
            InputError: When there is no such model, or no earlier champion.
        """
        with self.locked(name) as client:
            return champion_decisions.apply_rollback(client, name, reason)

    def champion(self, name: str) -> ModelRef | None:
        """Return the version that users fetch; None before the first promotion or registration."""
        with connected(self.tracking_uri) as client:
            model = lookup.find_model(client, name)
            alias = model.aliases.get(CHAMPION) if model else None
            return model_ref(client.get_model_version(name, alias)) if alias else None

    def registered_data(self, name: str) -> dict[str, RegisteredData]:
        """Return the data of the champion and of the newest version, by address, where they record it."""
        with connected(self.tracking_uri) as client:
            model = lookup.find_model(client, name)
            if model is None:
                return {}
            numbers = {int(model.aliases.get(CHAMPION, 0)), max(lookup.version_numbers(client, name), default=0)}
            versions = [client.get_model_version(name, str(number)) for number in sorted(numbers) if number]
            data = {model_ref(version).uri: recorded_data(client, version) for version in versions}
            return {uri: known for uri, known in data.items() if known is not None}

    def find(self, name: str, version: int) -> ModelRef:
        """Return the version with this number; 0 is the champion.

        Raises:
            InputError: When there is no such model or version, or no champion.
        """
        with connected(self.tracking_uri) as client:
            return model_ref(lookup.version_by_number(client, name, version))

    def named(self, text: str) -> ModelRef:
        """Return the version that NAME@ALIAS or NAME/VERSION names.

        Raises:
            InputError: When the text is neither, or there is no such model, alias or version.
        """
        with connected(self.tracking_uri) as client:
            return model_ref(lookup.version_by_text(client, text))

    def copy(self, ref: ModelRef, folder: Path) -> None:
        """Copy a version's program, with all that MLflow needs to load it, into a new folder; see `copy_model`."""
        with connected(self.tracking_uri):
            copy_model(ref, folder)

    def versions(self, name: str) -> list[VersionRow]:
        """Return all versions, newest first.

        Raises:
            InputError: When there is no such model.
        """
        with connected(self.tracking_uri) as client:
            model = lookup.require_model(client, name)
            newest_first = sorted(lookup.all_versions(client, name), key=lambda version: -int(version.version))
            return [version_row(version, model.aliases) for version in newest_first]

    def of_training(self, name: str, training_digest: str) -> ModelRef:
        """Return the version that a training was registered as.

        Raises:
            InputError: When there is no such model or version.
        """
        with connected(self.tracking_uri) as client:
            return model_ref(lookup.version_of_training(client, name, training_digest))

    def last_decision(self, model: ModelRef) -> Decision | None:
        """Return the last decision about a version, with the champion of this moment; None before the first."""
        with connected(self.tracking_uri) as client, artifact_dir.staging(self.work) as staged:
            return last_decision(client, model.name, model.version, staged)

    def names(self) -> list[str]:
        """Return the names of the registered models."""
        with connected(self.tracking_uri) as client:
            return lookup.model_names(client)

    def load(self, ref: ModelRef, side: int = 0) -> "nn.Module":
        """Load the program for a side of a version: N rows to (N, F) float32 unit rows, on the CPU, without pickle.

        Raises:
            InputError: When there is no such model or version.
        """
        with connected(self.tracking_uri) as client:
            lookup.require_version(client, ref.name, ref.version)
            return load_program(client, ref, side)

    def model_input(self, ref: ModelRef) -> ModelInput:
        """Return what a version takes, from its signature and tags.

        Raises:
            InputError: When its modality gives no such arrays: another program registered it.
        """
        with connected(self.tracking_uri) as client:
            return model_input(client, ref)

    def fetch(self, ref: ModelRef, files: Sequence[str], into: Path) -> None:
        """Copy files that were registered with a version into a folder.

        Raises:
            InputError: When the version has no file of that name.
        """
        with connected(self.tracking_uri) as client:
            fetch_files(client, ref, files, into)

    def log_report(self, run_id: str, name: str, page: str) -> None:
        """Add a report to the artifacts of a version's run; a report of the same name is replaced."""
        with connected(self.tracking_uri) as client:
            client.log_text(run_id, page, name)

    def is_locked(self, name: str) -> bool:
        """Whether a process of this machine is changing the model at this moment."""
        return is_locked(self._lock_file(name))

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator["MlflowClient"]:
        """Give a client while no other process of this machine changes the same model.

        Raises:
            InfrastructureError: When another process has held the lock for ten minutes.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._lock_file(name), timeout=_LOCK_TIMEOUT_S)
        try:
            lock.acquire()
        except Timeout as error:
            raise InfrastructureError(
                f"another process has been changing model {name!r} for {_LOCK_TIMEOUT_S} s; "
                f"wait for it or end it ({lock.lock_file} is its lock), and run the same command again"
            ) from error
        try:
            with connected(self.tracking_uri) as client:
                yield client
        finally:
            lock.release()

    def _lock_file(self, name: str) -> Path:
        return self.work / f"{urllib.parse.quote(name, safe='')}.lock"


def model_store() -> ModelStore:
    """Return the model store that the environment names."""
    settings = Settings.from_environment()
    return ModelStore(settings.tracking_uri, settings.artifact_root, settings.work)
