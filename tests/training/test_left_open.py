"""What a spec leaves open is chosen for the data before the training, reported, and kept in the completed spec."""

import pytest

from cl_core.errors import SpecError
from cl_core.specs import ComputeSpec, TrainingSpec
from cl_core.training.components import assemble, training_digest
from cl_core.training.left_open import fill_in
from cl_core.training.preflight import check_batches

TEN_OF_TEN = {f"class {number}": 10 for number in range(10)}


def facenet(**fields):
    return assemble(TrainingSpec(method="facenet", **{"batch_size": 64, "held_out_share": 0, **fields}))


def test_facenet_takes_as_many_samples_per_class_as_fit_and_says_so():
    filled = fill_in(facenet(), train_rows=100, classes=TEN_OF_TEN)
    assert filled.choices == [
        "training.method_options.samples_per_class: 8, for batches of 64 from 10 classes, the smallest of 10 samples"
    ]
    assert filled.parts.method.batch_samples_per_class == filled.parts.spec.method_options["samples_per_class"] == 8
    check_batches(filled.parts, ComputeSpec(), train_rows=100, classes=TEN_OF_TEN)
    given = fill_in(facenet(method_options={"samples_per_class": 8}), train_rows=100, classes=TEN_OF_TEN)
    assert given.choices == []
    digests = {training_digest(each.parts, snapshot_digest="5" * 64, image_size=28) for each in (filled, given)}
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
