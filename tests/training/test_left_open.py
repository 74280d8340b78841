"""What a spec leaves open is chosen for the data before the training, reported, and kept in the completed spec."""

import pytest

from cl_core.errors import SpecError
from cl_core.modalities.image import Images
from cl_core.specs import ComputeSpec, TrainingSpec
from cl_core.training.components import assemble, training_digest
from cl_core.training.left_open import fill_in
from cl_core.training.preflight import check_batches

TEN_OF_TEN = {f"class {number}": 10 for number in range(10)}


def facenet(**fields):
    return assemble(TrainingSpec(method="facenet", **{"batch_size": 64, "held_out_share": 0, "epochs": 9, **fields}))


def test_facenet_takes_as_many_samples_per_class_as_fit_and_says_so():
    filled = fill_in(facenet(), train_rows=100, classes=TEN_OF_TEN)
    assert filled.choices == [
        "training.method_options.samples_per_class: 8, for batches of 64 from 10 classes, the smallest of 10 samples"
    ]
    assert filled.parts.method.batch_samples_per_class == filled.parts.spec.method_options["samples_per_class"] == 8
    check_batches(filled.parts, ComputeSpec(), train_rows=100, classes=TEN_OF_TEN)
    given = fill_in(facenet(method_options={"samples_per_class": 8}), train_rows=100, classes=TEN_OF_TEN)
    assert given.choices == []
    digests = {training_digest(each.parts, snapshot_digest="5" * 64, modality=Images()) for each in (filled, given)}
    assert len(digests) == 1, "left open or given, it is one training"


def test_held_out_samples_are_not_counted():
    """Of ten samples in each of two classes, a fifth is held out."""
    classes = {"first": 10, "second": 10}
    filled = fill_in(facenet(batch_size=16, held_out_share=0.2), train_rows=20, classes=classes)
    assert filled.parts.method.batch_samples_per_class == 8


def test_where_no_number_fits_the_batch_size_that_does_is_named():
    filled = fill_in(facenet(batch_size=28), train_rows=30, classes=dict.fromkeys("abc", 10))
    with pytest.raises(SpecError) as caught:
        check_batches(filled.parts, ComputeSpec(), train_rows=30, classes=dict.fromkeys("abc", 10))
    assert str(caught.value) == (
        "training.method_options.samples_per_class: batch_size 28 is not a multiple of 32 samples per class; "
        "no number fits; choose a training.batch_size of 27 with 9 samples of each of 3 classes"
    )


@pytest.mark.parametrize(
    ("rows", "fields", "epochs", "steps"),
    [
        (60_000, {}, 4, 936),
        (50_000, {}, 5, 975),
        (1_281_167, {}, 1, 5_004),
        (300, {"batch_size": 64}, 250, 1_000),
        (300, {"batch_size": 64, "accumulate_steps": 4}, 1_000, 1_000),
        (100, {"batch_size": 256}, 1_000, 1_000),  # Refused by `check_batches`, which says why.
    ],
)
def test_epochs_left_open_come_nearest_to_a_thousand_steps(rows, fields, epochs, steps):
    parts = assemble(TrainingSpec(**fields))
    filled = fill_in(parts, train_rows=rows, classes={})
    assert (filled.parts.spec.epochs, filled.steps) == (epochs, steps)
    assert filled.choices == [f"training.epochs: {epochs}, for {steps:,} steps"]
    assert fill_in(filled.parts, train_rows=rows, classes={}).parts == filled.parts


def test_given_epochs_stay():
    filled = fill_in(assemble(TrainingSpec(epochs=3)), train_rows=60_000, classes={})
    assert (filled.parts.spec.epochs, filled.steps, filled.choices) == (3, 702, [])


def test_batches_of_classes_are_counted_as_they_are_drawn():
    """Ten samples in each of ten classes are a batch of eight classes with eight samples, once an epoch."""
    assert fill_in(facenet(epochs=5), train_rows=100, classes=TEN_OF_TEN).steps == 5


def test_a_warm_up_longer_than_the_epochs_chosen_is_refused():
    with pytest.raises(SpecError) as caught:
        fill_in(assemble(TrainingSpec(warmup_epochs=10)), train_rows=60_000, classes={})
    assert str(caught.value) == (
        "training.warmup_epochs: 10 must be less than the epochs, of which 4 make 936 steps; choose less, or give "
        "training.epochs"
    )


def test_an_option_that_needs_more_epochs_than_are_chosen_is_refused():
    swav = assemble(TrainingSpec(method="swav", method_options={"freeze_epochs": 4}))
    with pytest.raises(
        SpecError, match=r"^training\.method_options\.freeze_epochs: .* in a training of 4; choose at most 3"
    ):
        fill_in(swav, train_rows=60_000, classes={})
