"""What is refused before anything is trained: batches, labels and image sizes that do not fit."""

import sys

import pytest
import torch
from pydantic import ValidationError

from cl_core.encoders.mlp import MLP
from cl_core.errors import SpecError
from cl_core.modalities.image import Images
from cl_core.registry import METHODS, explain_validation_error
from cl_core.specs import ComputeSpec, TrainingSpec
from cl_core.training import component_checks, preflight
from cl_core.training.components import assemble


def check_batches(training, *arguments, **keywords):
    preflight.check_batches(assemble(training), *arguments, **keywords)


def check_image_size(training, *, image_size):
    component_checks.check_views(assemble(training), Images(size=image_size))


def refusal(training, size):
    with pytest.raises(SpecError) as caught:
        check_image_size(training, image_size=size)
    return str(caught.value)


@pytest.mark.parametrize("method", [name for name in METHODS.names() if name != "clip"])
def test_every_method_takes_its_own_views_of_small_images(method):
    check_image_size(TrainingSpec(method=method), image_size=28)


def test_fused_views_without_numba_are_refused_before_the_training(monkeypatch):
    training = TrainingSpec(views_backend="fused")
    check_image_size(training, image_size=28)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert refusal(training, 28).startswith("training.views_backend: fused is wanted, but numba cannot be imported")


def test_images_too_small_for_the_encoders_stages_are_refused():
    training = TrainingSpec(encoder_options={"stages": 4})
    assert refusal(training, 28) == (
        "training.encoder_options.grid: a grid of 2 cells per side needs as many positions, but 4 stages leave 1 of 28 "
        "pixels; choose fewer stages or a smaller grid"
    )
    check_image_size(training, image_size=64)


def test_local_crops_too_small_for_the_encoders_stages_are_refused():
    """The images are large enough, their small crops are not."""
    training = TrainingSpec(method="swav", views_options={"local_share": 0.25})
    assert refusal(training, 28) == (
        "training.encoder_options.grid: a grid of 2 cells per side needs as many positions, but 2 stages leave 1 of 7 "
        "pixels; choose fewer stages or a smaller grid"
    )
    check_image_size(training, image_size=56)


def test_views_of_several_sizes_for_an_encoder_of_one_size_are_refused():
    sentence = refusal(TrainingSpec(method="swav", encoder="mlp"), 28)
    assert sentence.startswith(
        "training.views: method 'swav' with encoder 'mlp' cannot take views of the shapes (3, 12, 12) "
        "and (3, 28, 28), made of color images of 28 x 28 pixels ("
    )
    assert sentence.endswith("; choose other views, or a method and an encoder that take several shapes")


class Dropping(MLP):
    """An encoder with dropout."""

    def build(self, shape):
        encoder = super().build(shape)
        encoder.network.append(torch.nn.Dropout(0.1))
        return encoder


def test_an_encoder_that_draws_random_numbers_is_refused():
    """Its draws would be those of a generator's state, and so of the worker and of where a training resumes."""
    parts = assemble(TrainingSpec(encoder="mlp"))
    component_checks.check_views(parts, Images(size=28))
    with pytest.raises(SpecError, match=r"^training.encoder: method 'simclr' with encoder 'mlp' draws random numbers"):
        component_checks.check_views(parts.model_copy(update={"encoder": Dropping()}), Images(size=28))


def test_views_of_another_modality_are_refused_with_those_that_suit():
    with pytest.raises(
        SpecError, match=r"^training.views: 'simclr' makes views of image, and data.modality is 'beads'"
    ):
        component_checks.check_views(assemble(TrainingSpec()), Beads())


class Beads(Images):
    """Another modality."""

    registered_name = "beads"


def check(batch_size, *, workers=1, accumulate=1, rows=1000):
    training = TrainingSpec(batch_size=batch_size, accumulate_steps=accumulate)
    check_batches(training, ComputeSpec(workers=workers, threads=workers), train_rows=rows)


@pytest.mark.parametrize(
    ("batch_size", "workers", "nearest"),
    [
        (255, 2, "254 or 256"),
        (10, 4, "8 or 12"),
        (3, 4, "8"),
        (6, 4, "8"),
        (1001, 1000, "2000"),
        (257, 256, "512"),
        (513, 256, "512 or 768"),
    ],
)
def test_a_batch_the_workers_cannot_share_is_refused_with_the_nearest_sizes(batch_size, workers, nearest):
    with pytest.raises(SpecError) as caught:
        check(batch_size, workers=workers)
    assert str(caught.value) == (
        f"training.batch_size: {batch_size} is not divisible by {workers} workers (compute.workers); nearest: {nearest}"
    )


def test_one_sample_a_worker_is_refused():
    with pytest.raises(SpecError) as caught:
        check(4, workers=4)
    assert str(caught.value) == (
        "training.batch_size: 4 gives each of 4 workers 1 sample; batch norm needs at least 2, so at least 8"
    )
    check(8, workers=4)


@pytest.mark.parametrize(
    ("batch_size", "workers", "accumulate", "rows", "at_most"),
    [(256, 1, 1, 255, 255), (256, 2, 1, 255, 254), (64, 4, 4, 250, 60), (100, 1, 11, 1000, 90)],
)
def test_a_step_larger_than_the_data_is_refused_with_the_largest_that_fits(
    batch_size, workers, accumulate, rows, at_most
):
    with pytest.raises(SpecError) as caught:
        check(batch_size, workers=workers, accumulate=accumulate, rows=rows)
    assert str(caught.value) == (
        f"training.batch_size: one step needs {batch_size * accumulate} samples "
        f"(batch_size {batch_size} x accumulate_steps {accumulate}), but the training split has {rows}; "
        f"choose a batch_size of at most {at_most}"
    )
    check(at_most, workers=workers, accumulate=accumulate, rows=rows)


def test_a_batch_that_is_the_whole_split_is_accepted():
    check(256, rows=256)
    check(128, workers=2, accumulate=2, rows=256)


def test_more_accumulated_steps_than_the_data_can_fill_are_refused_with_what_to_lower():
    """No batch size would do: 2 workers want 4 samples a batch, and 30 batches make 120."""
    with pytest.raises(SpecError, match=r"has 100; lower training\.accumulate_steps or compute\.workers$"):
        check(4, workers=2, accumulate=30, rows=100)


def batch_refusal(training, *, workers=1, rows=1000, classes=None):
    with pytest.raises(SpecError) as caught:
        check_batches(training, ComputeSpec(workers=workers, threads=workers), train_rows=rows, classes=classes or {})
    return str(caught.value)


TEN = {f"class {number}": 100 for number in range(10)}


def test_a_batch_of_one_is_refused_before_anything_else():
    with pytest.raises(ValidationError) as caught:
        TrainingSpec(batch_size=1)
    assert explain_validation_error(caught.value, "training", []) == (
        "training.batch_size: input should be greater than or equal to 2; got 1"
    )


@pytest.mark.parametrize(
    "method",
    [{"method": "supcon"}, {"method": "facenet"}, {"method": "siamese", "method_options": {"pairs": "labels"}}],
)
def test_a_method_that_learns_from_labels_is_refused_data_without_them(method):
    training = TrainingSpec(**method)
    assert batch_refusal(training) == (
        f"training.method: {training.method!r} needs labels, but the training split has none; "
        "name the labels in data.source_options, or choose a method that makes its own pairs, such as 'simclr'"
    )
    assert batch_refusal(training, classes={"all": 1000}) == (
        f"training.method: {training.method!r} needs at least 2 classes, but the training split has only 'all'; "
        "add another class, or choose a method that makes its own pairs, such as 'simclr'"
    )
    check_batches(training, ComputeSpec(), train_rows=1000, classes=TEN)


def test_a_method_that_makes_its_own_pairs_needs_no_labels():
    for method in ("simclr", "siamese", "dacl"):
        check_batches(TrainingSpec(method=method), ComputeSpec(), train_rows=1000)
        check_batches(TrainingSpec(method=method), ComputeSpec(), train_rows=1000, classes={"all": 1000})


def facenet(batch_size, each, **fields):
    options, fields = {"samples_per_class": each}, {"held_out_share": 0, **fields}
    return TrainingSpec(method="facenet", method_options=options, batch_size=batch_size, **fields)


K = "training.method_options.samples_per_class: "


@pytest.mark.parametrize(
    ("batch_size", "each", "classes", "sentence"),
    [
        (256, 24, TEN, "batch_size 256 is not a multiple of 24 samples per class; choose 32 or 64"),
        (10, 24, TEN, "batch_size 10 is not a multiple of 24 samples per class; choose 2 or 5"),
        (
            64,
            64,
            TEN,
            ("a batch of 64 with 64 samples per class holds one class, but needs at least 2; choose 8 or 16 or 32"),
        ),
        (
            256,
            8,
            TEN,
            (
                "a batch of 256 with 8 samples per class needs 32 classes, but the training split has 10; "
                "choose 32 or 64"
            ),
        ),
        (
            64,
            16,
            {**TEN, "rare": 9, "rarer": 3},
            (
                "every class needs 16 samples, but 2 of 12 classes have fewer ('rarer' has 3); "
                "no number fits; choose a training.batch_size of 36 with 3 samples of each of 12 classes"
            ),
        ),
        (
            64,
            16,
            {**TEN, "alone": 1},
            (
                "every class needs 16 samples, but 1 of 11 classes have fewer ('alone' has 1); "
                "give each class 2 samples or more, and a batch 2 classes or more"
            ),
        ),
    ],
)
def test_batches_that_the_classes_do_not_fill_are_refused(batch_size, each, classes, sentence):
    assert batch_refusal(facenet(batch_size, each), rows=2000, classes=classes) == K + sentence


def test_samples_that_are_held_out_fill_no_batch():
    """Of 50 and 50 labeled samples a fiftieth is one each; those without a label are all trained on."""
    halves = {"first": 50, "second": 50}
    training = TrainingSpec(batch_size=101)
    check_batches(training, ComputeSpec(), train_rows=103, classes=halves)
    assert "one step needs 101 samples" in batch_refusal(training, rows=102, classes=halves)
    check_batches(facenet(98, 49, held_out_share=0.02), ComputeSpec(), train_rows=100, classes=halves)
    assert batch_refusal(facenet(100, 50, held_out_share=0.02), rows=100, classes=halves) == (
        "training.batch_size: one step needs 100 samples (batch_size 100 x accumulate_steps 1), "
        "but the training split has 98; choose a batch_size of at most 98"
    )


def test_classes_that_just_fill_a_batch_are_accepted():
    check_batches(facenet(64, 32), ComputeSpec(), train_rows=64, classes={"first": 32, "second": 32})
    check_batches(facenet(64, 16), ComputeSpec(), train_rows=64, classes=dict.fromkeys("abcd", 16))


def test_more_accumulated_batches_than_the_classes_make_are_refused():
    """A thousand samples are enough for twelve batches of 64; of these classes there are three."""
    classes = {"large": 900, "small": 100, "tiny": 64}
    training = facenet(64, 32, accumulate_steps=6)
    assert batch_refusal(training, rows=1064, classes=classes) == (
        "training.accumulate_steps: one step needs 6 batches of 2 classes with 32 samples each, but the training split "
        "fills 5; choose at most 5"
    )
    check_batches(facenet(64, 32, accumulate_steps=5), ComputeSpec(), train_rows=1064, classes=classes)


@pytest.mark.parametrize("sub_batch_size", [256, 300])
def test_a_sub_batch_as_large_as_the_batch_or_larger_is_refused(sub_batch_size):
    with pytest.raises(ValidationError) as caught:
        TrainingSpec(batch_size=256, sub_batch_size=sub_batch_size)
    assert explain_validation_error(caught.value, "training", []) == (
        f"training: sub_batch_size {sub_batch_size} must be less than batch_size 256, of which it is a part; 0 is off"
    )


@pytest.mark.parametrize(
    ("size", "sub", "workers", "pieces", "smallest", "at_least"),
    [(256, 1, 1, 256, 1, 2), (256, 3, 2, 86, 2, 4), (9, 2, 1, 5, 1, 3), (64, 12, 4, 6, 10, None)],
)
def test_sub_batches_give_each_worker_two_samples(size, sub, workers, pieces, smallest, at_least):
    training = TrainingSpec(batch_size=size, sub_batch_size=sub)
    assert (training.sub_batches, size // pieces) == (pieces, smallest)
    if at_least is None:
        check_batches(training, ComputeSpec(workers=workers, threads=workers), train_rows=1000)
        return
    assert batch_refusal(training, workers=workers) == (
        f"training.sub_batch_size: {sub} cuts a batch of {size} into {pieces} sub-batches of {smallest} or more, but "
        f"batch norm needs 2 samples for each of {workers} workers; choose at least {at_least}, or 0"
    )
    enough = TrainingSpec(batch_size=size, sub_batch_size=at_least)
    check_batches(enough, ComputeSpec(workers=workers, threads=workers), train_rows=1000)
