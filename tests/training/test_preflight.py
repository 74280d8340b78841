"""Whether a method and its encoder can take the views of images of a size, asked before anything is read."""

import pytest

from cl_core.errors import SpecError
from cl_core.registry import METHODS
from cl_core.specs import TrainingSpec
from cl_core.training.preflight import check_image_size


def refusal(training, size):
    with pytest.raises(SpecError) as caught:
        check_image_size(training, image_size=size)
    return str(caught.value)


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_takes_its_own_views_of_small_images(method):
    check_image_size(TrainingSpec(method=method), image_size=28)


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
        "training.views: method 'swav' with encoder 'mlp' cannot take views of 12 and 28 pixels, made of images of 28 ("
    )
    assert sentence.endswith("; choose other views, or a method and an encoder that take several sizes")
