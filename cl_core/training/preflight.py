"""Checks of a training spec against the data and the workers, made before anything is trained."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from cl_core.columns import Split
from cl_core.data.sampling import (
    class_balanced_count,
    fitting_samples_per_class,
    held_out_counts,
    held_out_of_groups,
)
from cl_core.errors import SpecError
from cl_core.methods import MethodOptions
from cl_core.specs import ComputeSpec, TrainingSpec
from cl_core.training.components import Parts


class TrainedOn(NamedTuple):
    """The training split less its held-out part."""

    rows: int  # Samples.
    classes: dict[str, int]  # Labeled samples by class; empty without labels.

    @classmethod
    def of_groups(cls, split: Split, names: Sequence[str], share: float) -> "TrainedOn | None":
        """Count what is left of the training split when whole groups are held out; None where it has no groups."""
        if split.groups is None:
            return None
        labels = np.full(len(split), -1) if split.labels is None else split.labels
        trained = np.delete(labels, held_out_of_groups(labels, split.groups, share))
        counts = np.bincount(trained[trained >= 0], minlength=len(names)).tolist()
        return cls(len(trained), {name: count for name, count in zip(names, counts, strict=True) if count})


def without_held_out(training: TrainingSpec, *, train_rows: int, classes: Mapping[str, int]) -> TrainedOn:
    """Return what is trained on where single samples are held out.

    `train_rows` are the samples of the training split, `classes` the labeled ones by class; empty without labels.
    """
    names = sorted(classes)
    held_out = held_out_counts([classes[name] for name in names], training.held_out_share).tolist()
    remaining = {name: classes[name] - n for name, n in zip(names, held_out, strict=True)}
    return TrainedOn(train_rows - sum(held_out), remaining)


def check_batches(
    parts: Parts,
    compute: ComputeSpec,
    *,
    train_rows: int,
    classes: Mapping[str, int] = MappingProxyType({}),
    of_groups: TrainedOn | None = None,
) -> None:
    """Refuse batches that workers cannot share or the data cannot fill, and a method that does not suit the data.

    `train_rows` are the samples of the training split, `classes` the labeled ones by class; empty without labels.
    `of_groups` is what is trained on where whole groups are held out.

    Raises:
        SpecError: Naming the nearest sizes that would do.
    """
    training = parts.spec
    train_rows, classes = of_groups or without_held_out(training, train_rows=train_rows, classes=classes)
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
    needed = size * training.accumulate_steps
    if needed > train_rows:
        most = train_rows // training.accumulate_steps // workers * workers
        remedy = f"choose a batch_size of at most {most}"
        if most < 2 * workers:
            remedy = "lower training.accumulate_steps or compute.workers"
        raise SpecError(
            f"training.batch_size: one step needs {needed} samples "
            f"(batch_size {size} x accumulate_steps {training.accumulate_steps}), "
            f"but the training split has {train_rows}; {remedy}"
        )
    _check_labels(training, parts.method, classes)
    parts.method.check_data(batch_size=size, train_rows=train_rows)


def _check_labels(training: TrainingSpec, method: MethodOptions, classes: Mapping[str, int]) -> None:
    """Refuse a labeled method without labels or with a single class."""
    if not method.needs_labels:
        return
    if not classes:
        raise SpecError(
            f"training.method: {training.method!r} needs labels, but the training split has none; "
            "name the labels in data.source_options, or choose a method that makes its own pairs, such as 'simclr'"
        )
    if len(classes) < 2:
        raise SpecError(
            f"training.method: {training.method!r} needs at least 2 classes, but the training split has only "
            f"{next(iter(classes))!r}; add another class, or choose a method that makes its own pairs, such as 'simclr'"
        )
    if method.batch_samples_per_class:
        _check_class_batches(training, method.batch_samples_per_class, classes)


def _check_class_batches(training: TrainingSpec, samples_per_class: int, classes: Mapping[str, int]) -> None:
    """Refuse P x K batches (P classes with K samples each) that the classes cannot fill."""
    path, size = "training.method_options.samples_per_class", training.batch_size
    needed = size // samples_per_class
    rare = {name: count for name, count in classes.items() if count < samples_per_class}
    problem = ""
    if size % samples_per_class:
        problem = f"batch_size {size} is not a multiple of {samples_per_class} samples per class"
    elif needed < 2:
        problem = f"a batch of {size} with {samples_per_class} samples per class holds one class, but needs at least 2"
    elif needed > len(classes):
        problem = (
            f"a batch of {size} with {samples_per_class} samples per class needs {needed} classes, "
            f"but the training split has {len(classes)}"
        )
    elif rare:
        name = min(rare, key=lambda one: rare[one])
        problem = (
            f"every class needs {samples_per_class} samples, but {len(rare)} of {len(classes)} classes have "
            f"fewer ({name!r} has {rare[name]})"
        )
    if problem:
        raise SpecError(f"{path}: {problem}; {_fitting_batches(size, classes)}")
    batches = class_balanced_count(classes.values(), batch_size=size, samples_per_class=samples_per_class)
    if batches < training.accumulate_steps:
        raise SpecError(
            f"training.accumulate_steps: one step needs {training.accumulate_steps} batches of {needed} classes with "
            f"{samples_per_class} samples each, but the training split fills {batches}; choose at most {batches}"
        )


def _fitting_batches(size: int, classes: Mapping[str, int]) -> str:
    """Return what to do: which samples per class fit the batch, or else which batch fits the classes."""
    if fitting := fitting_samples_per_class(classes.values(), batch_size=size):
        return f"choose {' or '.join(map(str, fitting))}"
    smallest = min(classes.values())
    counts = range(2, min(len(classes), size // 2) + 1)
    most = max(((count * min(smallest, size // count), count) for count in counts), default=(0, 2))
    if smallest < 2 or not most[0]:
        return "give each class 2 samples or more, and a batch 2 classes or more"
    return (
        f"no number fits; choose a training.batch_size of {most[0]} with {most[0] // most[1]} samples of each of "
        f"{most[1]} classes"
    )
