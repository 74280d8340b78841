"""Encoders of texts, beside loops and torch's own networks with the same weights; dropout by the key of a sample."""

import math

import numpy as np
import pytest
import torch
from texts import fitted_to, rows_of

from cl_core.encoders._keyed_dropout import KeyedDropout, dropout_hash
from cl_core.encoders.bag import Bag

TEXTS = ["the cat sat on the mat", "a dog", "世界 cat", "!", "the " * 16]


def test_the_bag_is_the_weighted_sum_of_words_and_ngrams_that_a_loop_adds_up():
    torch.manual_seed(0)
    processor = fitted_to(TEXTS)
    network = Bag(features=6).build_for(processor).double().eval().network
    views = processor((rows_of(TEXTS),)).double()
    layout = processor.layout
    torch.nn.init.normal_(network.norm.weight)
    for view, found in zip(views, network(views), strict=True):
        total = torch.zeros(6, dtype=torch.float64)
        words, ngrams = (ids(view[None])[0].tolist() for ids in (layout.word_ids, layout.ngram_ids))
        rows = [number for number in words if number] + [layout.words + number - 1 for number in ngrams if number]
        for row in rows:
            total += network.weights[row] * network.vectors[row]
        centered = total - total.mean()
        normed = centered / (centered.square().mean() + 1e-5).sqrt() * network.norm.weight + network.norm.bias
        torch.testing.assert_close(found, normed, rtol=0, atol=1e-9)


def test_the_weights_of_the_bag_start_at_the_inverse_document_frequency():
    processor = fitted_to(TEXTS)
    encoder = Bag(features=6).build_for(processor)
    assert encoder.network.weights.equal(processor.idf) and encoder.network.weights[0] == 0
    processor.idf += 1
    assert not encoder.network.weights.equal(processor.idf)


def test_padding_gets_no_gradient():
    processor = fitted_to(TEXTS)
    network = Bag(features=6).build_for(processor).network
    network(processor((rows_of(TEXTS),))).square().sum().backward()
    assert not network.vectors.grad[0].any() and network.vectors.grad[2].any()


def test_dropout_keeps_as_many_as_it_should_and_scales_them():
    """A million draws: the share that is kept is within four standard errors."""
    layer, keys = KeyedDropout(0.1, layer=3), torch.arange(1, 10_001) * 1009
    dropped = layer(torch.ones(10_000, 100), keys)
    assert sorted(set(dropped.flatten().tolist())) == [0, pytest.approx(1 / 0.9)]
    kept = (dropped > 0).double()
    assert kept.mean().item() == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / 1e6))
    for axis in (0, 1):  # Of each channel and of each key.
        spread = kept.mean(axis).std().item() / math.sqrt(0.09 / kept.shape[axis])
        assert spread == pytest.approx(1, abs=0.3)


def test_masks_of_layers_channels_and_keys_are_independent():
    keys, channels = torch.arange(1, 5001), torch.arange(8)
    masks = [dropout_hash(keys[:, None], layer, channels).double() / 2**32 for layer in range(4)]
    columns = torch.cat(masks, dim=1).numpy()
    correlation = np.corrcoef(columns, rowvar=False) - np.eye(32)
    assert np.abs(correlation).max() < 5 / math.sqrt(5000)
    assert columns.mean() == pytest.approx(0.5, abs=0.01)


def test_a_mask_is_a_function_of_the_key_alone_and_shared_over_time():
    layer = KeyedDropout(0.5, layer=0)
    keys = torch.tensor([5, 0, 7, 5])
    dropped = layer(torch.ones(4, 3, 16), keys)
    assert dropped[0].equal(dropped[3]) and not dropped[0].equal(dropped[2])
    assert dropped[0, 0].equal(dropped[0, 2])
    assert dropped[1].equal(torch.ones(3, 16)), "key 0 drops nothing"
    assert layer(torch.ones(1, 16), keys[2:3]).equal(dropped[2:3, 0])
    assert layer.eval()(torch.ones(4, 16), keys).equal(torch.ones(4, 16))
