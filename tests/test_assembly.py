"""From a spec to its parts: what fits, and what a training is called."""

import re

import pytest

from cl_core.assembly import assemble, check_batches, complete, training_digest
from cl_core.encoders.mlp import MLP
from cl_core.errors import SpecError
from cl_core.losses.info_nce import InfoNCE
from cl_core.methods.simclr import SimCLROptions
from cl_core.registry import METHODS
from cl_core.specs import ComputeSpec, TrainingSpec


def digest(*, snapshot="a" * 64, image_size=28, **fields):
    return training_digest(TrainingSpec(**fields), snapshot_digest=snapshot, image_size=image_size)


def test_the_parts_are_those_named_with_the_options_given():
    training = TrainingSpec(
        encoder="mlp", encoder_options={"hidden": 9}, loss_options={"temperature": 0.5}, method_options={}
    )
    parts = assemble(training)
    assert parts.encoder == MLP(hidden=9)
    assert parts.loss == InfoNCE(temperature=0.5)
    assert parts.method == SimCLROptions()
    assert parts.views.count == 2


@pytest.mark.parametrize("part", ["method", "loss", "views", "encoder"])
def test_an_unknown_option_of_any_part_is_refused_with_its_path(part):
    with pytest.raises(SpecError, match=rf"^training\.{part}_options\.colour: there is no such option; choose from: "):
        assemble(TrainingSpec(**{f"{part}_options": {"colour": 1}}))


def test_an_option_out_of_range_is_refused_with_its_path():
    with pytest.raises(SpecError) as caught:
        assemble(TrainingSpec(loss_options={"temperature": 0}))
    assert str(caught.value) == "training.loss_options.temperature: input should be greater than 0; got 0"


def test_a_view_policy_that_makes_another_number_of_views_is_refused(monkeypatch):
    class ThreeViews(SimCLROptions):
        view_counts = range(3, 4)

    monkeypatch.setitem(METHODS._classes, "three_views", ThreeViews)
    with pytest.raises(SpecError) as caught:
        assemble(TrainingSpec(method="three_views"))
    assert str(caught.value) == (
        "training.views: method 'three_views' takes 3 views of each sample, but 'simclr' makes 2; "
        "choose another view policy, or other views_options"
    )


def test_a_complete_spec_has_every_option_written_out_and_nothing_else_changed():
    training = TrainingSpec(encoder="mlp", loss_options={"temperature": "0.3"}, epochs=7)
    completed = complete(training)
    assert (completed.loss, completed.views) == ("info_nce", "simclr")
    assert completed.loss_options == {"temperature": 0.3, "tile": 0}
    assert completed.encoder_options == {"hidden": 256, "features": 128, "batch_norm": False}
    assert completed.method_options == {"projector_hidden": 512, "projector_features": 128}
    kept = set(TrainingSpec.model_fields) - {
        "loss",
        "views",
        "method_options",
        "loss_options",
        "views_options",
        "encoder_options",
    }
    assert all(getattr(completed, field) == getattr(training, field) for field in kept)
    assert complete(completed) == completed


def test_a_digest_is_64_hexadecimal_digits_and_the_same_at_every_call():
    assert re.fullmatch("[0-9a-f]{64}", digest())
    assert digest() == digest()


@pytest.mark.parametrize(
    "same",
    [
        {"epochs": 4},
        {"learning_rate": 2e-3},
        {"loss_options": {"temperature": 0.2}},
        {"loss_options": {"temperature": "0.2"}},
        {"loss": "info_nce"},
        {"views": "simclr"},
        {"method_options": {"projector_hidden": 512}},
        {"method_options": {"projector_hidden": "512", "projector_features": 128.0}},
        {"views_options": {"flip_probability": 0.5}},
    ],
)
def test_a_default_left_out_and_the_same_value_given_are_one_training(same):
    assert digest(**same) == digest()


def test_a_number_and_the_text_of_it_are_one_training():
    assert digest(loss_options={"temperature": "0.3"}) == digest(loss_options={"temperature": 0.3})
    assert digest(loss_options={"temperature": 1}) == digest(loss_options={"temperature": 1.0})
    with_booleans = [digest(encoder="mlp", encoder_options={"batch_norm": value}) for value in (True, "true", "True")]
    assert len(set(with_booleans)) == 1


def test_every_other_input_is_another_training():
    variants = [
        {},
        {"snapshot": "b" * 64},
        {"image_size": 32},
        {"seed": 1},
        {"epochs": 5},
        {"batch_size": 128},
        {"accumulate_steps": 2},
        {"sub_batch_size": 32},
        {"optimizer": "sgd"},
        {"learning_rate": 1e-3},
        {"weight_decay": 0.0},
        {"momentum": 0.8},
        {"warmup_epochs": 0.0},
        {"precision": "fp32"},
        {"channels_last": False},
        {"encoder": "mlp"},
        {"encoder": "mlp", "encoder_options": {"hidden": 255}},
        {"method_options": {"projector_hidden": 511}},
        {"loss_options": {"temperature": 0.3}},
        {"loss_options": {"temperature": 0.30000000000000004}},
        {"views_options": {"flip_probability": 0.4}},
    ]
    assert len({digest(**variant) for variant in variants}) == len(variants)
    changed = {name for variant in variants for name in variant} - {"snapshot", "image_size"}
    only_one_choice = {"method", "loss", "views"}
    assert changed | only_one_choice == set(TrainingSpec.model_fields)


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
        f"training.batch_size: one step takes {batch_size * accumulate} samples "
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
