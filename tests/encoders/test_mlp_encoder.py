"""The multilayer perceptron: two linear layers and nothing hidden."""

import torch
from torch import nn

from cl_core.encoders.mlp import MLP


def test_features_are_those_of_the_formula():
    torch.manual_seed(0)
    encoder = MLP(hidden=11, features=5).build((3, 4, 4))
    first, second = (layer for layer in encoder.network if isinstance(layer, nn.Linear))
    images = torch.rand(6, 3, 4, 4)
    hidden = (images.flatten(1) @ first.weight.T + first.bias).clamp(min=0)
    assert encoder.features == 5
    torch.testing.assert_close(encoder(images), hidden @ second.weight.T + second.bias, atol=1e-6, rtol=1e-6)


def test_batch_norm_is_off_by_default_and_takes_the_bias_over_when_on():
    plain, normalized = (MLP(batch_norm=on).build((1, 8, 8)).network for on in (False, True))
    assert [type(layer).__name__ for layer in plain] == ["Flatten", "Linear", "ReLU", "Linear"]
    assert [type(layer).__name__ for layer in normalized] == ["Flatten", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert plain[1].bias is not None and normalized[1].bias is None


def test_vectors_are_images_of_one_pixel():
    encoder = MLP(hidden=11, features=5).build((7, 1, 1))
    vectors = torch.rand(6, 7)
    assert encoder(vectors).shape == (6, 5)
    assert encoder(vectors).equal(encoder(vectors[:, :, None, None]))
