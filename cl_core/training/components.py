"""From a training spec to its parts, and to the digest under which its result stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cl_core.code_digest import code_digest
from cl_core.data.sampling import class_balanced_count, held_out_counts
from cl_core.encoders import EncoderOptions
from cl_core.errors import SpecError
from cl_core.hashing import digest_of
from cl_core.losses import PairLoss
from cl_core.methods import MethodOptions, Published
from cl_core.registry import ENCODERS, LOSSES, METHODS, VIEWS
from cl_core.specs import PUBLISHED, ComputeSpec, Options, TrainingSpec
from cl_core.views import ImageViews

# Modules that decide the weights beside the components and what these import. What only measures, checks, reports or
# stores is left out, so that changing it repeats no training. So is this module: what it makes of a spec is the
# completed spec, which is in the digest itself. A test compares the list with what the training loop imports.
DECIDES_WEIGHTS = (
    "cl_core.data.cache",
    "cl_core.data.sampling",
    "cl_core.data.snapshot",
    "cl_core.modalities.image",
    "cl_core.parallel.collectives",
    "cl_core.parallel.sync_batch_norm",
    "cl_core.rng",
    "cl_core.specs.training",
    "cl_core.training.feed",
    "cl_core.training.gradients",
    "cl_core.training.loop",
    "cl_core.training.optimizer",
    "cl_core.training.schedule",
    "cl_core.training.warm_start",
)


@dataclass(frozen=True)
class Parts:
    """The components that a training spec names, with their options."""

    method: MethodOptions
    loss: PairLoss | None
    """None when the method's objective is no pair loss, and its own."""
    views: ImageViews
    encoder: EncoderOptions


def assemble(training: TrainingSpec) -> Parts:
    """The parts of a training, validated one by one and together.

    Raises:
        SpecError: When a name or an option is unknown or out of range, or two parts do not fit.
    """
    method: MethodOptions = METHODS.build(training.method, training.method_options, field="training.method")
    views = _named_or_published(training.views, training.views_options, method.published_views)
    parts = Parts(
        method=method,
        loss=_loss(training, method),
        views=VIEWS.build(*views, field="training.views"),
        encoder=ENCODERS.build(training.encoder, training.encoder_options, field="training.encoder"),
    )
    if parts.views.count not in method.view_counts:
        raise SpecError(
            f"training.views: method {training.method!r} takes {_counted(method.view_counts)} of each sample, "
            f"but {views[0]!r} makes {parts.views.count}; choose another view policy, or other views_options"
        )
    method.check(parts.loss, epochs=training.epochs)
    return parts


def _loss(training: TrainingSpec, method: MethodOptions) -> PairLoss | None:
    if method.published_loss is None:
        if training.loss != PUBLISHED or training.loss_options:
            given = f"loss {training.loss!r}" if training.loss != PUBLISHED else "loss_options"
            raise SpecError(
                f"training.loss: method {training.method!r} has an objective of its own and takes no other; "
                f"got {given}: leave loss at {PUBLISHED!r} without options, and see training.method_options"
            )
        return None
    name, options = _named_or_published(training.loss, training.loss_options, method.published_loss)
    if method.accepted_losses and name not in method.accepted_losses:
        raise SpecError(
            f"training.loss: method {training.method!r} does not accept loss {name!r}; "
            f"choose one of: {', '.join(sorted(method.accepted_losses))}"
        )
    loss: PairLoss = LOSSES.build(name, options, field="training.loss")
    return loss


def _named_or_published(name: str, options: Options, published: Published) -> tuple[str, Options]:
    """A component's name and options; those of the paper, where it is asked for or named, give way to what is given."""
    is_published = name in (PUBLISHED, published.name)
    return (published.name, {**published.options, **options}) if is_published else (name, options)


def _counted(counts: range) -> str:
    most = counts[-1]
    return f"{counts[0]} view{'s' if most > 1 else ''}" if len(counts) == 1 else f"{counts[0]} to {most} views"


def complete(training: TrainingSpec) -> TrainingSpec:
    """The spec with every name and option written out: a default left out and the same value given are one spec.

    Raises:
        SpecError: As `assemble`.
    """
    parts = assemble(training)
    published = parts.method.published_loss
    loss, views = published.name if published else PUBLISHED, parts.method.published_views.name
    return training.model_copy(
        update={
            "method_options": parts.method.model_dump(mode="json"),
            "loss": loss if training.loss == PUBLISHED else training.loss,
            "loss_options": parts.loss.model_dump(mode="json") if parts.loss else {},
            "views": views if training.views == PUBLISHED else training.views,
            "views_options": parts.views.model_dump(mode="json"),
            "encoder_options": parts.encoder.model_dump(mode="json"),
        }
    )


def training_digest(training: TrainingSpec, *, snapshot_digest: str, image_size: int, start_sha256: str = "") -> str:
    """Digest of everything that decides the weights: data, image size, completed spec, first weights, and the code.

    The number of workers is not in it: a training begun by two may be finished by one. `start_sha256` is that of the
    weights that the encoder starts from, and empty for fresh ones, which follow from the seed.
    """
    parts = assemble(training)
    components = [part for part in (parts.method, parts.loss, parts.views, parts.encoder) if part is not None]
    return digest_of(
        {
            "snapshot": snapshot_digest,
            "image_size": image_size,
            "training": complete(training),
            "start": start_sha256,
            "code": code_digest(*(type(part).__module__ for part in components), alone=DECIDES_WEIGHTS),
        }
    )


def check_batches(
    training: TrainingSpec, compute: ComputeSpec, *, train_rows: int, classes: Mapping[str, int] = MappingProxyType({})
) -> None:
    """Refuse batches that the workers cannot share or the data cannot fill, and a method that the data do not suit.

    Args:
        training: What is asked for.
        compute: Says how many workers share a batch.
        train_rows: Samples of the training split.
        classes: Labelled training samples by class; empty without labels.

    Raises:
        SpecError: Naming the nearest sizes that would do.
    """
    names = sorted(classes)
    held_out = held_out_counts([classes[name] for name in names], training.held_out_share).tolist()
    classes = {name: classes[name] - count for name, count in zip(names, held_out, strict=True)}
    train_rows -= sum(held_out)
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
    smallest = size // training.sub_batches
    if smallest < 2 * workers:
        raise SpecError(
            f"training.sub_batch_size: {training.sub_batch_size} cuts a batch of {size} into {training.sub_batches} "
            f"sub-batches of {smallest} or more, but batch norm needs 2 samples for each of {workers} workers; "
            f"choose at least {-(-size // (size // (2 * workers)))}, or 0"
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
    method = assemble(training).method
    _check_labels(training, method, classes)
    method.check_data(batch_size=size, train_rows=train_rows)


def _check_labels(training: TrainingSpec, method: MethodOptions, classes: Mapping[str, int]) -> None:
    """Refuse a labelled method without labels or with a single class."""
    if not method.needs_labels:
        return
    if not classes:
        raise SpecError(
            f"training.method: {training.method!r} learns from labels, and the training split has none; "
            "name the labels in data.source_options, or choose a method that makes its own pairs, such as 'simclr'"
        )
    if len(classes) < 2:
        raise SpecError(
            f"training.method: {training.method!r} tells classes apart, and the training split has one only, "
            f"{next(iter(classes))!r}; add another, or choose a method that makes its own pairs, such as 'simclr'"
        )
    if method.handful:
        _check_handfuls(training, method.handful, classes)


def _check_handfuls(training: TrainingSpec, handful: int, classes: Mapping[str, int]) -> None:
    """Refuse batches of P classes with K samples each that the classes do not fill."""
    path, size = "training.method_options.samples_per_class", training.batch_size
    if size % handful:
        raise SpecError(
            f"{path}: batch_size {size} is not made of whole handfuls of {handful} samples; "
            f"nearest batch_size: {max(2, round(size / handful)) * handful}"
        )
    wanted = size // handful
    if wanted < 2:
        raise SpecError(
            f"{path}: a batch of {size} holds a single class of {handful} samples, and has nothing to tell it from; "
            f"choose at most {size // 2}, or a training.batch_size of at least {2 * handful}"
        )
    if wanted > len(classes):
        raise SpecError(
            f"{path}: a batch of {size} with {handful} samples of each class takes {wanted} classes, and the training "
            f"split has {len(classes)}; choose at least {-(-size // len(classes))}, or a smaller training.batch_size"
        )
    rare = {name: count for name, count in classes.items() if count < handful}
    if rare:
        name = min(rare, key=lambda one: rare[one])
        raise SpecError(
            f"{path}: {handful} samples of each class are wanted, but {len(rare)} of {len(classes)} classes have fewer "
            f"({name!r} has {rare[name]}); choose at most {rare[name]}, or give these classes more samples"
        )
    batches = class_balanced_count(classes.values(), batch_size=size, samples_per_class=handful)
    if batches < training.accumulate_steps:
        raise SpecError(
            f"training.accumulate_steps: one step takes {training.accumulate_steps} batches of {wanted} classes with "
            f"{handful} samples each, but the training split makes {batches}; choose at most {batches}"
        )
