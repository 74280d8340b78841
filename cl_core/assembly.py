"""From a training spec to its parts, and to the digest under which its result stands."""

from dataclasses import dataclass

from cl_core.digest import digest_of, source_digest
from cl_core.encoders import EncoderOptions
from cl_core.errors import SpecError
from cl_core.losses import PairLoss
from cl_core.methods import MethodOptions
from cl_core.registry import ENCODERS, LOSSES, METHODS, VIEWS
from cl_core.specs import ComputeSpec, TrainingSpec
from cl_core.views import ImageViews

# The code that decides the weights. What only measures, draws or stores is left out, so that mending a report
# does not train every model again.
_DECIDES_WEIGHTS = (
    "cl_core.assembly",
    "cl_core.data",
    "cl_core.distributed",
    "cl_core.encoders",
    "cl_core.losses",
    "cl_core.methods",
    "cl_core.seeding",
    "cl_core.training",
    "cl_core.views",
)


@dataclass(frozen=True)
class Parts:
    """The components that a training spec names, with their options."""

    method: MethodOptions
    loss: PairLoss
    views: ImageViews
    encoder: EncoderOptions


def assemble(training: TrainingSpec) -> Parts:
    """The parts of a training, validated one by one and together.

    Raises:
        SpecError: When a name or an option is unknown or out of range, or two parts do not fit.
    """
    parts = Parts(
        method=METHODS.build(training.method, training.method_options, field="training.method"),
        loss=LOSSES.build(training.loss, training.loss_options, field="training.loss"),
        views=VIEWS.build(training.views, training.views_options, field="training.views"),
        encoder=ENCODERS.build(training.encoder, training.encoder_options, field="training.encoder"),
    )
    if parts.views.count != parts.method.views:
        raise SpecError(
            f"training.views: method {training.method!r} contrasts {parts.method.views} views of each sample, "
            f"but {training.views!r} makes {parts.views.count}; choose another view policy"
        )
    return parts


def complete(training: TrainingSpec) -> TrainingSpec:
    """The spec with every option written out, so that a default left out and the same value given are one spec.

    Raises:
        SpecError: As `assemble`.
    """
    parts = assemble(training)
    return training.model_copy(
        update={
            "method_options": parts.method.model_dump(mode="json"),
            "loss_options": parts.loss.model_dump(mode="json"),
            "views_options": parts.views.model_dump(mode="json"),
            "encoder_options": parts.encoder.model_dump(mode="json"),
        }
    )


def training_digest(training: TrainingSpec, *, snapshot_digest: str, image_size: int) -> str:
    """Digest of everything that decides the weights: data, image size, completed spec, and the code.

    The number of workers is not in it: a training begun by two may be finished by one.
    """
    parts = assemble(training)
    components = (parts.method, parts.loss, parts.views, parts.encoder)
    code = {module: source_digest(module) for module in _DECIDES_WEIGHTS}
    plugins = {type(part).__module__: source_digest(type(part).__module__) for part in components}
    return digest_of(
        {
            "snapshot": snapshot_digest,
            "image_size": image_size,
            "training": complete(training),
            "code": {**code, **plugins},
        }
    )


def check_batches(training: TrainingSpec, compute: ComputeSpec, *, train_rows: int) -> None:
    """Refuse batches that the workers cannot share or the data cannot fill.

    Raises:
        SpecError: Naming the nearest sizes that would do.
    """
    size, workers = training.batch_size, compute.workers
    if size % workers:
        below, above = size - size % workers, size - size % workers + workers
        nearest = f"{below} or {above}" if below >= 2 * workers else f"{max(above, 2 * workers)}"
        raise SpecError(
            f"training.batch_size: {size} is not divisible by {workers} workers (compute.workers); nearest: {nearest}"
        )
    if size // workers < 2:
        raise SpecError(
            f"training.batch_size: {size} gives each of {workers} workers {size // workers} sample; "
            f"batch norm needs at least 2, so at least {2 * workers}"
        )
    wanted = size * training.accumulate_steps
    if wanted > train_rows:
        most = train_rows // training.accumulate_steps // workers * workers
        remedy = f"choose a batch_size of at most {most}"
        if most < 2 * workers:
            remedy = "lower training.accumulate_steps or compute.workers"
        raise SpecError(
            f"training.batch_size: one step takes {wanted} samples "
            f"(batch_size {size} x accumulate_steps {training.accumulate_steps}), "
            f"but the training split has {train_rows}; {remedy}"
        )
