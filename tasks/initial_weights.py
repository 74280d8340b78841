"""The weights that a training starts from: looked up when the training is first requested, then kept.

A training that starts from the champion may become the champion itself. When it is requested again on unchanged data,
it must still start from the earlier champion, or it would never be up to date. So the answer is kept under CL_HOME.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from pydantic import BaseModel, ConfigDict

from cl_core import artifact_dir
from cl_core.errors import IntegrityError, SpecError
from cl_core.hashing import file_sha256
from cl_core.refs import InitialWeightsRef, ModelRef
from cl_core.specs import TrainingSpec
from tasks.adapters.mlflow.model_store import model_store
from tasks.runtime.settings import Settings
from tasks.runtime.step import log_outcome

if TYPE_CHECKING:
    from cl_core.training.components import Parts
    from cl_core.training.warm_start import Continued


class _InitialWeights(BaseModel):
    """What a training starts from: the champion, or versions for its towers; nothing means random weights."""

    model_config = ConfigDict(frozen=True)

    champion: ModelRef | None
    towers: dict[str, ModelRef] = {}
    sha256: str = ""

    @property
    def address(self) -> str:
        """Return where the weights are from; empty where they are random."""
        uris = {side: version.uri for side, version in self.towers.items()}
        return self.champion.uri if self.champion else " and ".join(f"{uri} ({side})" for side, uri in uris.items())


def check_start_from(training: TrainingSpec, model_name: str) -> None:
    """Refuse to look up a champion without a model name."""
    if training.start_from == "champion" and not model_name:
        raise SpecError(
            "training.start_from: 'champion' is looked up under a registered model's name, which `cl pretrain` and "
            "`cl evaluate` do not take; use `cl register` or `cl retrain`, or start from 'scratch'"
        )


def find_initial_weights(
    parts: "Parts", *, model_name: str, request: str, continued: "Continued"
) -> InitialWeightsRef | None:
    """Find the weights that a training starts from; None when it starts from scratch.

    Args:
        parts: The training.
        model_name: Registered model whose champion is looked up.
        request: Digest of everything that decides the training except the champion, the model's name included.
        continued: Gives the processor of the samples with the champion's buffers.

    Raises:
        SpecError: When the champion has another encoder.
        InputError: When the champion was registered without its weights.
        IntegrityError: When the kept weights are lost and MLflow no longer has them.
    """
    check_start_from(parts.spec, model_name)
    spec = parts.spec
    if spec.start_from == "scratch" and not spec.start_towers:
        return None
    folder = Settings.from_environment().initial_weights
    folder.mkdir(parents=True, exist_ok=True)
    answer = folder / f"{request}.json"
    with FileLock(folder / "lock"):
        if answer.exists():
            initial = _InitialWeights.model_validate_json(answer.read_text(encoding="utf-8"))
            when = ", as when this training was first requested"
        else:
            look_up = _look_up_towers if spec.start_towers else _look_up
            initial = look_up(folder, parts, model_name, continued)
            artifact_dir.write_text(answer, initial.model_dump_json(indent=1) + "\n")
            when = ""
        if not initial.address:
            log_outcome(f"training starts from scratch{when}: {model_name!r} had no champion")
            return None
        weights = folder / initial.sha256
        if not artifact_dir.is_intact(weights):
            _fetch_again(weights, initial, parts, continued)
    whose = "" if initial.towers else ", the champion"
    log_outcome(f"training starts from the weights of {initial.address}{whose}{when}")
    return InitialWeightsRef(champion=initial.address, sha256=initial.sha256, path=weights)


def _look_up(folder: Path, parts: "Parts", model_name: str, continued: "Continued") -> _InitialWeights:
    from cl_core.training.warm_start import check_initial_weights

    champion = model_store().champion(model_name)
    if champion is None:
        return _InitialWeights(champion=None)
    with _fetched(folder, champion) as (staged, sha256):
        check_initial_weights(staged, parts, champion=champion.uri, continued=continued)
        artifact_dir.publish(staged, folder / sha256, {"champion": champion.uri})
    return _InitialWeights(champion=champion, sha256=sha256)


def _look_up_towers(folder: Path, parts: "Parts", model_name: str, continued: "Continued") -> _InitialWeights:
    del model_name
    store = model_store()
    towers = {side: store.named(text) for side, text in sorted(parts.spec.tower_models.items())}
    for side, version in towers.items():
        if (takes := store.model_input(version)).modality != side:
            raise SpecError(f"training.start_towers.{side}: wanted a model of {side}s, but {version.uri} takes {takes}")
    with _fetched_towers(folder, towers, parts, continued) as (staged, sha256):
        artifact_dir.publish(staged, folder / sha256, {"towers": {side: of.uri for side, of in towers.items()}})
    return _InitialWeights(champion=None, towers=towers, sha256=sha256)


def _fetch_again(weights: Path, initial: _InitialWeights, parts: "Parts", continued: "Continued") -> None:
    if initial.champion:
        fetched, metadata = _fetched(weights.parent, initial.champion), {"champion": initial.champion.uri}
    else:
        fetched, metadata = _fetched_towers(weights.parent, initial.towers, parts, continued), {}
    with fetched as (staged, sha256):
        if sha256 != weights.name:
            raise IntegrityError(
                f"this training started from weights of {initial.address} with sha256 {weights.name[:12]}…, which are "
                f"damaged or missing in {weights}, and MLflow now has {sha256[:12]}…; restore the folder, or "
                "change training.seed to begin another training"
            )
        shutil.rmtree(weights, ignore_errors=True)
        artifact_dir.publish(staged, weights, metadata)


@contextmanager
def _fetched_towers(
    folder: Path, towers: Mapping[str, ModelRef], parts: "Parts", continued: "Continued"
) -> Iterator[tuple[Path, str]]:
    """Fetch the weights of versions and join them, in a private folder; yield it, and the sha256 of the result."""
    from cl_core.training.warm_start import SPEC, WEIGHTS, join_towers

    with artifact_dir.staging(folder) as staged:
        for side, version in towers.items():
            (staged / side).mkdir()
            model_store().fetch(version, (WEIGHTS, SPEC), staged / side)
        join_towers(staged, {side: of.uri for side, of in towers.items()}, parts, continued=continued)
        for side in towers:
            shutil.rmtree(staged / side)
        yield staged, file_sha256(staged / WEIGHTS)


@contextmanager
def _fetched(folder: Path, champion: ModelRef) -> Iterator[tuple[Path, str]]:
    """Fetch a champion's weights into a private folder; yield it, and their sha256."""
    from cl_core.training.warm_start import SPEC, WEIGHTS

    with artifact_dir.staging(folder) as staged:
        model_store().fetch(champion, (WEIGHTS, SPEC), staged)
        yield staged, file_sha256(staged / WEIGHTS)
