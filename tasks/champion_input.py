"""The images that the champion takes, and the samples of a training made into them."""

from typing import TYPE_CHECKING, NamedTuple

from cl_core.errors import InputError
from cl_core.refs import ModelRef, NotComparable
from cl_core.report.wording import range_text
from cl_core.specs import ValueRange
from tasks.adapters.mlflow.model_store import ModelStore
from tasks.runtime.settings import Settings

if TYPE_CHECKING:
    from cl_core.training.job import PreparedData, TrainingJob

KINDS = {1: "grayscale", 3: "color"}
"""Images by their number of channels."""


class EncoderInput(NamedTuple):
    """The images that an encoder takes."""

    size: int
    channels: int
    value_range: ValueRange | None

    def __str__(self) -> str:
        values = f", with {range_text(self.value_range)} as black to white" if self.value_range else ""
        return f"{KINDS[self.channels]} images of {self.size} x {self.size} pixels{values}"


def training_input(job: "TrainingJob") -> EncoderInput:
    """Return the images that the encoder of a training takes."""
    return EncoderInput(job.data.image_size, job.snapshot.channels, job.snapshot.value_range)


def champion_input(store: ModelStore, champion: ModelRef) -> EncoderInput | NotComparable:
    """Return the images that the champion takes, or why images like that cannot be made."""
    try:
        height, width, channels = store.image_shape(champion)
    except InputError:
        return _not_comparable(champion, "its signature names no images, so another program registered it")
    if height == width and channels in KINDS:
        return EncoderInput(height, channels, store.value_range(champion))
    return _not_comparable(champion, f"it takes images of {height} x {width} pixels with {channels} channels")


def _not_comparable(champion: ModelRef, reason: str) -> NotComparable:
    return NotComparable(
        version=champion.version,
        reason=f"{champion.uri}, the champion, cannot be evaluated on these samples: {reason}; promote by hand with "
        "`cl promote`, or choose another model_name",
    )


def made_into(taken: EncoderInput, job: "TrainingJob", champion: ModelRef) -> "PreparedData | NotComparable":
    """Return the samples of a training as the images that the champion takes, which are cached like its own."""
    from cl_core.data.cache import build_cache
    from cl_core.modalities import Rejected
    from cl_core.training.job import PreparedData

    if taken == training_input(job):
        return job
    caches, workers = Settings.from_environment().caches, job.compute.ingest_workers
    modality = job.data.built_modality.model_copy(update={"size": taken.size, "value_range": taken.value_range})
    array = modality.array_spec({"channels": taken.channels})
    try:
        cache = build_cache(job.snapshot, modality, array=array, caches=caches, workers=workers)
    except Rejected as error:  # Such as 16-bit color, which has no other range.
        return _not_comparable(champion, f"an image cannot be made into one of {taken} ({error.detail})")
    mean, std = (
        # Of views, which are normalized and made pixels again: any values would do.
        values if taken.channels == job.snapshot.channels else (sum(values) / len(values),) * taken.channels
        for values in (job.mean, job.std)
    )
    data = job.data.model_copy(update={"image_size": taken.size})
    return PreparedData(snapshot=job.snapshot, data=data, cache=cache, mean=mean, std=std)
