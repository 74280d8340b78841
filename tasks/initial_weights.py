"""The weights that a training starts from: looked up when the training is first requested, then kept.

A training that starts from the champion may become the champion itself. When it is requested again on unchanged data,
it must still start from the earlier champion, or it would never be up to date. So the answer is kept under CL_HOME.
"""

import shutil
from collections.abc import Iterator
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
    """The champion that a training starts from; none means random weights."""

    model_config = ConfigDict(frozen=True)

    champion: ModelRef | None
    sha256: str = ""


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
    if parts.spec.start_from == "scratch":
        return None
    folder = Settings.from_environment().initial_weights
    folder.mkdir(parents=True, exist_ok=True)
    answer = folder / f"{request}.json"
    with FileLock(folder / "lock"):
        if answer.exists():
            initial = _InitialWeights.model_validate_json(answer.read_text(encoding="utf-8"))
            when = ", as when this training was first requested"
        else:
            initial = _look_up(folder, parts, model_name, continued)
            artifact_dir.write_text(answer, initial.model_dump_json(indent=1) + "\n")
            when = ""
        if initial.champion is None:
            log_outcome(f"training starts from scratch{when}: {model_name!r} had no champion")
            return None
        weights = folder / initial.sha256
        if not artifact_dir.is_intact(weights):
            _fetch_again(weights, initial.champion)
    log_outcome(f"training starts from the weights of {initial.champion.uri}, the champion{when}")
    return InitialWeightsRef(champion=initial.champion.uri, sha256=initial.sha256, path=weights)


def _look_up(folder: Path, parts: "Parts", model_name: str, continued: "Continued") -> _InitialWeights:
    from cl_core.training.warm_start import check_initial_weights

    champion = model_store().champion(model_name)
    if champion is None:
        return _InitialWeights(champion=None)
    with _fetched(folder, champion) as (staged, sha256):
        check_initial_weights(staged, parts, champion=champion.uri, continued=continued)
        artifact_dir.publish(staged, folder / sha256, {"champion": champion.uri})
    return _InitialWeights(champion=champion, sha256=sha256)


def _fetch_again(weights: Path, champion: ModelRef) -> None:
    with _fetched(weights.parent, champion) as (staged, sha256):
        if sha256 != weights.name:
            raise IntegrityError(
                f"this training started from weights of {champion.uri} with sha256 {weights.name[:12]}…, which are "
                f"damaged or missing in {weights}, and MLflow now has {sha256[:12]}…; restore the folder, or "
                "change training.seed to begin another training"
            )
        shutil.rmtree(weights, ignore_errors=True)
        artifact_dir.publish(staged, weights, {"champion": champion.uri})


@contextmanager
def _fetched(folder: Path, champion: ModelRef) -> Iterator[tuple[Path, str]]:
    """Fetch a champion's weights into a private folder; yield it, and their sha256."""
    from cl_core.training.warm_start import SPEC, WEIGHTS

    with artifact_dir.staging(folder) as staged:
        model_store().fetch(champion, (WEIGHTS, SPEC), staged)
        yield staged, file_sha256(staged / WEIGHTS)
