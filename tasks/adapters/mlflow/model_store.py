"""The model store: the one door to MLflow. Registers versions, keeps aliases, and says what there is.

Every public method may be killed at any point and called again: what stands is found, what is missing is added.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cl_core import artifact_dir
from cl_core.errors import InputError
from cl_core.evaluation.promotion_gate import Gains, judge
from cl_core.failpoints import failpoint
from cl_core.refs import Decision, EvaluationReport, ModelRef
from cl_core.specs import PromotionSpec
from tasks.adapters.mlflow import champion_history as champions
from tasks.adapters.mlflow import lookup, model_lock
from tasks.adapters.mlflow.connection import connected, pytorch_flavor
from tasks.adapters.mlflow.logged_model import image_shape
from tasks.adapters.mlflow.model_version import CHAMPION, Registration, VersionRow, as_ref, as_row
from tasks.adapters.mlflow.register_version import register
from tasks.adapters.mlflow.training_run import fetch_files

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import nn

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]*")


class ModelStore:
    """Registered models at one tracking address.

    Args:
        tracking_uri: `sqlite:////absolute/path.db`, or http(s) of a server.
        artifact_root: Absolute folder for artifacts where there is no server to choose; None where there is.
        work: Folder of this machine for locks and for files before an upload.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path | None, work: Path) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_root = artifact_root
        self.work = work

    def register(self, registration: Registration) -> ModelRef:
        """Register a training as a new version, once; `created` is False when it stood already.

        Raises:
            InputError: When the name cannot be one of a model, or its experiment was deleted.
            StoreUnreachableError: When MLflow does not answer.
            StorageFullError: When a disk is full.
        """
        if not _MODEL_NAME.fullmatch(registration.name):
            raise InputError(
                f"model_name {registration.name!r} cannot name a model; "
                "use letters, digits, dots, dashes, underscores and spaces, and start with a letter or digit"
            )
        with self.changing(registration.name) as client, artifact_dir.staging(self.work) as staged:
            return register(client, registration, artifact_root=self.artifact_root, staged=staged)

    def decide(
        self, name: str, version: int, promotion: PromotionSpec, evaluation: EvaluationReport, gains: Gains
    ) -> Decision:
        """Put a challenger to the gate, carry out the verdict and record it.

        A version that a person has rolled back stays down until a person promotes it. A comparison with a version
        that is no longer the champion decides nothing.

        Args:
            name: Of the registered model.
            version: The challenger.
            promotion: What the gate asks for.
            evaluation: Of the challenger.
            gains: Paired differences of the deciding score, over the baselines and the champion of the moment.

        Raises:
            InputError: When there is no such model or version.
        """
        with self.changing(name) as client:
            lookup.known_version(client, name, version)
            succession, _ = champions.settled(client, name)
            champion = succession.champion
            if version == champion:
                return champions.standing(client, name, version)
            objection = champions.not_comparable(version, succession, gains)
            verdict = objection or judge(version, promotion, evaluation, gains)
            decision = Decision(
                name=name,
                version=version,
                champion=version if verdict.promote else champion,
                promoted=verdict.promote,
                reason=verdict.reason,
                gain=gains.over_champion,
            )
            failpoint("promote.judged")
            if verdict.promote:
                champions.carry_out(client, name, succession.promoted(decision))
            else:
                champions.record(client, decision, version)
            return decision

    def promote(self, name: str, version: int, reason: str) -> Decision:
        """Make a version the champion by hand, whatever the gate said.

        Args:
            name: Of the registered model.
            version: The next champion.
            reason: A person's, recorded with the version.

        Raises:
            InputError: When there is no such model or version.
        """
        with self.changing(name) as client:
            lookup.known_version(client, name, version)
            succession, _ = champions.settled(client, name)
            if version == succession.champion:
                return champions.standing(client, name, version)
            decision = Decision(
                name=name,
                version=version,
                champion=version,
                promoted=True,
                reason=f"version {version} is promoted by hand: {reason}",
            )
            champions.carry_out(client, name, succession.promoted(decision))
            return decision

    def rollback(self, name: str, reason: str = "no reason given") -> Decision:
        """Take the champion down and bring the one before it back.

        A rollback that was killed half-way is finished, and no second one begun.

        Raises:
            InputError: When there is no such model, or no earlier champion.
        """
        with self.changing(name) as client:
            lookup.known_model(client, name)
            succession, unfinished = champions.settled(client, name)
            if unfinished is not None and unfinished.kind == "rollback":
                return unfinished.decision
            existing = {int(version.version) for version in lookup.versions(client, name)}
            back = succession.before(existing)
            if not back:
                raise InputError(
                    f"{name} has no earlier champion to go back to (now: {champions.named(succession.champion)}); "
                    f"`cl promote {name} VERSION` chooses one of its versions: {lookup.listed(existing)}"
                )
            gone = succession.champion
            decision = Decision(
                name=name,
                version=gone,
                champion=back,
                promoted=False,
                reason=f"version {gone} is rolled back, version {back} is the champion again: {reason}",
            )
            champions.carry_out(client, name, succession.rolled_back(decision))
            return decision

    def champion(self, name: str) -> ModelRef | None:
        """The version that users fetch; None before the first, and before the first registration."""
        with connected(self.tracking_uri) as client:
            model = lookup.find_model(client, name)
            alias = model.aliases.get(CHAMPION) if model else None
            return as_ref(client.get_model_version(name, alias)) if alias else None

    def find(self, name: str, version: int) -> ModelRef:
        """The version of this number; 0 is the champion.

        Raises:
            InputError: When there is no such model or version, or no champion.
        """
        with connected(self.tracking_uri) as client:
            return as_ref(lookup.numbered(client, name, version))

    def versions(self, name: str) -> list[VersionRow]:
        """All versions, newest first.

        Raises:
            InputError: When there is no such model.
        """
        with connected(self.tracking_uri) as client:
            model = lookup.known_model(client, name)
            found = sorted(lookup.versions(client, name), key=lambda version: -int(version.version))
            return [as_row(version, model.aliases) for version in found]

    def of_training(self, name: str, training_digest: str) -> ModelRef:
        """The version that was made by a training.

        Raises:
            InputError: When there is no such model or version.
        """
        with connected(self.tracking_uri) as client:
            return as_ref(lookup.made_by(client, name, training_digest))

    def last_decision(self, model: ModelRef) -> Decision | None:
        """What was decided last about a version, its champion being the one of this moment; None before the first."""
        with connected(self.tracking_uri) as client, artifact_dir.staging(self.work) as staged:
            return champions.last_decision(client, model.name, model.version, staged)

    def names(self) -> list[str]:
        """The registered models."""
        with connected(self.tracking_uri) as client:
            return lookup.names(client)

    def load(self, ref: ModelRef) -> "nn.Module":
        """The program of a version: (N, H, W, C) uint8 to (N, F) float32 unit rows, on the CPU. Nothing is unpickled.

        Raises:
            InputError: When there is no such model or version.
        """
        with connected(self.tracking_uri) as client:
            lookup.known_version(client, ref.name, ref.version)
            program: nn.Module = pytorch_flavor().load_model(ref.uri)
            return program

    def image_shape(self, ref: ModelRef) -> tuple[int, int, int]:
        """(H, W, C) of the uint8 images that a version takes, as its signature says.

        Raises:
            InputError: When its signature is of something else: another program registered it.
        """
        with connected(self.tracking_uri):
            return image_shape(ref)

    def fetch(self, ref: ModelRef, files: Sequence[str], into: Path) -> None:
        """Copy files that were registered with a version into a folder.

        Raises:
            InputError: When the version has none of that name.
        """
        with connected(self.tracking_uri) as client:
            fetch_files(client, ref, files, into)

    def log_report(self, run_id: str, name: str, page: str) -> None:
        """Put a report beside the artifacts of a version's run; a report of the same name is replaced."""
        with connected(self.tracking_uri) as client:
            client.log_text(run_id, page, name)

    def is_changing(self, name: str) -> bool:
        """Whether a process of this machine is changing the model at this moment."""
        return model_lock.is_changing(self.work, name)

    @contextlib.contextmanager
    def changing(self, name: str) -> Iterator["MlflowClient"]:
        """A client, while no other process of this machine changes the same model."""
        with model_lock.held(self.work, name), connected(self.tracking_uri) as client:
            yield client
