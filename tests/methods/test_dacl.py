"""DACL: mixtures of a sample find each other, whether samples are images or plain vectors."""

import math

import digits
import numpy as np
import pytest
from small_training import JobOf
from torch import nn

from cl_core.encoders.mlp import MLP
from cl_core.errors import SpecError
from cl_core.losses.info_nce import InfoNCE
from cl_core.methods import Samples
from cl_core.methods.dacl import DACLOptions
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble
from cl_core.training.loop import train


def test_the_parts_are_those_of_the_paper():
    spec = assemble(TrainingSpec(method="dacl")).spec
    assert (spec.views, spec.views_options["mixing"], spec.views_options["alpha"]) == ("dacl_mixup", "linear", 0.5)
    assert spec.loss == "info_nce"
    assert spec.method_options == {"projector_hidden": 512, "projector_features": 128}
    parts = assemble(TrainingSpec(method="dacl"))
    assert not parts.method.needs_labels and parts.method.view_counts == range(2, 3)
    projector = parts.method.build(MLP(features=5).build((1, 8, 8)), parts.loss).projector
    assert [type(layer) for layer in projector] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]


@pytest.mark.integration
def test_it_trains_on_images_in_the_real_loop(job_of: JobOf):
    job = job_of(method="dacl", epochs=6, encoder_options={"stem_width": 8, "width": 16, "stages": 1})
    train(job)
    lines = job.progress.read()
    first, last = (np.mean([line.loss for line in part]) for part in (lines[:5], lines[-5:]))
    assert first < math.log(63)  # All embeddings the same.
    assert last < first - 0.5


@pytest.mark.integration
def test_it_learns_from_plain_vectors():
    """Ten epochs; then 256 digits of unseen writers find their other mixture among 511 rows."""
    method = digits.build(DACLOptions(projector_hidden=128, projector_features=32), InfoNCE(temperature=0.2))
    before = digits.on_held_out(method, digits.mixtures)
    last = digits.train(method, digits.mixtures, epochs=10)
    after = digits.on_held_out(method, digits.mixtures)
    [plateau] = method.trivial_losses(digits.HELD_OUT).values()
    assert last.embeddings.shape == (2 * digits.BATCH, 32)
    assert plateau == pytest.approx(math.log(511), rel=1e-6)
    assert after.loss < plateau - 2.5 and after.loss < before.loss - 2
    assert digits.nearest(after) > max(digits.nearest(before) + 0.1, 0.6)  # By chance 1 / 511.


def test_the_loss_does_not_depend_on_labels():
    method, positions = digits.build(DACLOptions(), InfoNCE()), np.arange(8)
    views, samples = digits.mixtures(positions, 0), digits.samples(positions)
    assert method(views, samples).loss.equal(method(views, Samples(samples.ids)).loss)


@pytest.mark.parametrize("wrong", [{"projector_hidden": -1}, {"projector_features": 1}, {"alpha": 0.5}])
def test_options_out_of_bounds_are_refused_with_their_path(wrong):
    [name] = wrong
    with pytest.raises(SpecError, match=rf"^training\.method_options\.{name}: "):
        assemble(TrainingSpec(method="dacl", method_options=wrong))
