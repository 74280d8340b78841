"""What the champion takes, and the samples of a training made into it."""

from typing import TYPE_CHECKING

from cl_core.errors import ForeignModelError
from cl_core.modalities._model_input import ModelInput
from cl_core.refs import ComparisonReason, ModelRef, NotComparable
from tasks.adapters.mlflow.model_store import ModelStore
from tasks.runtime.settings import Settings

if TYPE_CHECKING:
    from cl_core.training.job import PreparedData, TrainingJob


def champion_input(store: ModelStore, champion: ModelRef, job: "TrainingJob") -> ModelInput | NotComparable:
    """Return what the champion takes, or why the samples of a training cannot be made into it."""
    try:
        model_input = store.model_input(champion)
    except ForeignModelError as error:
        return _not_comparable(champion, **error.reason)
    if model_input.modalities != (own := job.model_input.modalities):
        return _not_comparable(champion, code="other_modality", takes=str(model_input), modality=" and ".join(own))
    return model_input


def _not_comparable(champion: ModelRef, **reason: str) -> NotComparable:
    return NotComparable(version=champion.version, uri=champion.uri, reason=ComparisonReason.model_validate(reason))


def made_into(model_input: ModelInput, job: "TrainingJob", champion: ModelRef) -> "PreparedData | NotComparable":
    """Return the samples of a training as the champion takes them, which are cached like its own."""
    from cl_core.data.cache import build_cache
    from cl_core.modalities import Modality, Rejected
    from cl_core.training.job import PreparedData

    if model_input == job.model_input:
        return job
    caches, workers = Settings.from_environment().caches, job.compute.ingest_workers
    data = job.data
    for side in job.modality.programs:
        data = data.with_options_of(model_input.of_side(side).kind)
    modality: Modality = data.built_modality
    arrays = model_input.sample_arrays(modality)
    try:
        cache = build_cache(job.snapshot, modality, arrays=arrays, caches=caches, workers=workers)
    except Rejected as error:  # Such as 16-bit color, which has no other range.
        return _not_comparable(champion, code="rejected_sample", takes=str(model_input), detail=error.detail)
    return PreparedData(snapshot=job.snapshot, data=data, cache=cache)
