"""From which weights a training starts: decided the first time it is asked for, and remembered.

A training that starts from the champion may become the champion itself. Asked for again on unchanged data it is still
the training that started from the champion before, and stands; so the answer is kept under CL_HOME, with the weights.
"""

import shutil
from pathlib import Path

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


class _Decided(BaseModel):
    """What a training starts from; no champion is from scratch."""

    model_config = ConfigDict(frozen=True)

    champion: ModelRef | None
    sha256: str = ""


def check_start_from(training: TrainingSpec, model_name: str) -> None:
    """Refuse to look for a champion without the name of a model."""
    if training.start_from == "champion" and not model_name:
        raise SpecError(
            "training.start_from: 'champion' is looked up under a registered model's name, which `cl pretrain` and "
            "`cl evaluate` do not take; use `cl register` or `cl retrain`, or start from 'scratch'"
        )


def starting_weights(
    training: TrainingSpec, *, model_name: str, request: str, channels: int, image_size: int
) -> InitialWeightsRef | None:
    """The weights that a training starts from; None where it starts from scratch.

    Args:
        training: What is asked for.
        model_name: Of the registered model whose champion is meant.
        request: Digest of all that decides the training but for the champion, the model's name included.
        channels: Of the images.
        image_size: Pixels.

    Raises:
        SpecError: When the champion has another encoder.
        InputError: When the champion was registered without its weights.
        IntegrityError: When the weights are lost, and the champion of then has others by now.
    """
    check_start_from(training, model_name)
    if training.start_from == "scratch":
        return None
    starts = Settings.from_environment().starts
    starts.mkdir(parents=True, exist_ok=True)
    answer = starts / f"{request}.json"
    with FileLock(starts / "lock"):
        if answer.exists():
            decided = _Decided.model_validate_json(answer.read_text())
            when = "as when this training was first asked for, "
        else:
            decided = _decide(starts, training, model_name, channels=channels, image_size=image_size)
            artifact_dir.write_text(answer, decided.model_dump_json(indent=1) + "\n")
            when = ""
        if decided.champion is None:
            log_outcome(f"{when}training starts from scratch: there was no champion of {model_name!r}")
            return None
        weights = starts / decided.sha256
        if not artifact_dir.is_intact(weights):
            _fetch_again(weights, decided.champion)
    log_outcome(f"{when}training starts from the weights of {decided.champion.uri}, the champion")
    return InitialWeightsRef(champion=decided.champion.uri, sha256=decided.sha256, path=weights)


def _decide(starts: Path, training: TrainingSpec, model_name: str, *, channels: int, image_size: int) -> _Decided:
    from cl_core.training.warm_start import SPEC, WEIGHTS, check_initial_weights

    store = model_store()
    champion = store.champion(model_name)
    if champion is None:
        return _Decided(champion=None)
    with artifact_dir.staging(starts) as staged:
        store.fetch(champion, (WEIGHTS, SPEC), staged)
        check_initial_weights(staged, training, champion=champion.uri, channels=channels, image_size=image_size)
        sha256 = file_sha256(staged / WEIGHTS)
        artifact_dir.publish(staged, starts / sha256, {"champion": champion.uri})
    return _Decided(champion=champion, sha256=sha256)


def _fetch_again(weights: Path, champion: ModelRef) -> None:
    from cl_core.training.warm_start import SPEC, WEIGHTS

    with artifact_dir.staging(weights.parent) as staged:
        model_store().fetch(champion, (WEIGHTS, SPEC), staged)
        found = file_sha256(staged / WEIGHTS)
        if found != weights.name:
            raise IntegrityError(
                f"this training started from weights of {champion.uri} with sha256 {weights.name[:12]}…, which are "
                f"damaged or missing in {weights}; MLflow has others by now, {found[:12]}…. Bring the folder back, or "
                "change training.seed to begin another training"
            )
        shutil.rmtree(weights, ignore_errors=True)
        artifact_dir.publish(staged, weights, {"champion": champion.uri})
