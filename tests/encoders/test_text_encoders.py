"""Encoders of texts, beside loops and torch's own networks with the same weights; dropout by the key of a sample."""

import io
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from texts import fitted_to, rows_of
from torch.export import Dim

from cl_core.encoders._keyed_dropout import KeyedDropout, dropout_hash
from cl_core.encoders.bag import Bag
from cl_core.encoders.gru import GRU
from cl_core.encoders.transformer import Transformer
from cl_core.export import EmbeddingModel, export_program

pytestmark = pytest.mark.usefixtures("compiled_texts")

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


def copied_gru(network):
    """torch's bidirectional GRU with the weights of both directions."""
    first = network.forwards
    both = torch.nn.GRU(first.weight_ih_l0.shape[1], first.hidden, batch_first=True, bidirectional=True).double()
    for name, weight in first.named_parameters():
        getattr(both, name).data.copy_(weight.data)
        getattr(both, f"{name}_reverse").data.copy_(network.backwards.get_parameter(name).data)
    return both


def test_the_gru_is_that_of_torch_over_packed_texts_with_the_same_weights():
    torch.manual_seed(0)
    processor = fitted_to(TEXTS)
    network = GRU(width=5, hidden=7).build_for(processor).double().eval().network
    views = processor((rows_of(TEXTS),)).double()
    ids = processor.layout.word_ids(views)
    lengths = (ids > 0).sum(1)
    has_words = lengths > 0
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        network.vectors(ids[has_words]), lengths[has_words], batch_first=True, enforce_sorted=False
    )
    _, last = copied_gru(network)(packed)
    found = network(views)
    torch.testing.assert_close(found[has_words], torch.cat([*last], dim=1), rtol=0, atol=1e-12)
    assert not found[~has_words].any() and int((~has_words).sum()) == 1


def copied_transformer(network, heads: int):
    """torch's pre-norm transformer with the weights of each block."""
    width, hidden = network.norm.normalized_shape[0], network.blocks[0].rise.out_features
    layer = torch.nn.TransformerEncoderLayer(
        width, heads, hidden, dropout=0, activation="gelu", batch_first=True, norm_first=True
    )
    encoder = torch.nn.TransformerEncoder(
        layer, len(network.blocks), norm=torch.nn.LayerNorm(width), enable_nested_tensor=False
    ).double()
    for theirs, block in zip(encoder.layers, network.blocks, strict=True):
        pairs = {
            theirs.norm1: block.norm_1,
            theirs.norm2: block.norm_2,
            theirs.linear1: block.rise,
            theirs.linear2: block.fall,
            theirs.self_attn.out_proj: block.mixed,
        }
        for module, own in pairs.items():
            module.load_state_dict(own.state_dict())
        theirs.self_attn.in_proj_weight.data.copy_(block.queries_keys_values.weight)
        theirs.self_attn.in_proj_bias.data.copy_(block.queries_keys_values.bias)
    encoder.norm.load_state_dict(network.norm.state_dict())
    return encoder.eval()


def test_the_transformer_is_that_of_torch_with_the_same_weights():
    torch.manual_seed(0)
    processor = fitted_to(TEXTS)
    options = Transformer(width=12, layers=3, heads=3, feed_forward=20, most_words=20)
    network = options.build_for(processor).double().eval().network
    for parameter in network.parameters():  # Also those that start at zero or one.
        torch.nn.init.normal_(parameter, std=0.5)
    views = processor((rows_of(TEXTS),)).double()
    ids = processor.layout.word_ids(views)[:, :20]
    has_words = (ids > 0).any(1)
    ids, found = ids[has_words], network(views)
    # In training mode torch computes what is written in its documentation; there is no dropout to do.
    encoded = copied_transformer(network, heads=3).train()(
        network.vectors(ids) + network.positions, src_key_padding_mask=ids == 0
    )
    mask = (ids > 0)[..., None]
    torch.testing.assert_close(found[has_words], (encoded * mask).sum(1) / mask.sum(1), rtol=0, atol=1e-12)
    assert not found[~has_words].any() and torch.isfinite(found).all()


def test_heads_that_do_not_share_the_width_are_refused():
    with pytest.raises(ValidationError, match="width 10 is not divisible by 4 heads; nearest: 8"):
        Transformer(width=10, heads=4)


SMALL = [
    Bag(features=6),
    GRU(width=5, hidden=4, most_words=9),
    Transformer(width=8, layers=2, heads=2, feed_forward=16, most_words=9),
]
by_name = pytest.mark.parametrize("options", SMALL, ids=lambda options: options.registered_name)


@by_name
def test_features_do_not_depend_on_the_others_of_a_batch_nor_on_the_padding(options):
    narrow, wide = fitted_to(TEXTS), fitted_to(TEXTS, length=128)
    encoders = []
    for processor in (narrow, wide):
        torch.manual_seed(0)
        encoders.append(options.build_for(processor).eval())
    views = [processor((rows_of(TEXTS, processor.layout.length),)) for processor in (narrow, wide)]
    whole = encoders[0](views[0])
    torch.testing.assert_close(encoders[1](views[1]), whole, rtol=0, atol=1e-6)
    for number in range(len(TEXTS)):
        torch.testing.assert_close(encoders[0](views[0][[number]])[0], whole[number], rtol=0, atol=1e-6)
    assert torch.isfinite(whole).all() and encoders[0](views[0][:0]).shape == (0, encoders[0].features)


@by_name
def test_in_training_features_are_a_function_of_the_text_and_its_key_alone(options):
    processor = fitted_to(TEXTS)
    torch.manual_seed(0)
    encoder = options.build_for(processor).train()
    views = processor((rows_of(TEXTS),)).repeat(2, 1)
    views[:, 0] = torch.arange(1, 11) / 16
    before = torch.get_rng_state()
    whole = encoder(views)
    assert torch.get_rng_state().equal(before)
    for part in ([3, 7], [9, 0, 1]):
        torch.testing.assert_close(encoder(views[part]), whole[part], rtol=0, atol=1e-6)
    assert not whole[0].allclose(whole[5]), "another key is another mask"
    views[:, 0] = 0
    torch.testing.assert_close(encoder(views), encoder.eval()(views))


@by_name
@pytest.mark.slow_unit(reason="torch traces each word's step of a recurrent network")
def test_the_exported_network_gives_the_same_for_any_number_of_texts(options):
    processor = fitted_to(TEXTS)
    encoder = options.build_for(processor).eval()
    views = processor((rows_of([*TEXTS, *(f"text number {n}" for n in range(12))]),))
    program = torch.export.export(encoder, (views[:2],), dynamic_shapes=({0: Dim.DYNAMIC},)).module()
    for count in (0, 1, 2, 3, 17):
        torch.testing.assert_close(program(views[:count]), encoder(views[:count]), rtol=0, atol=1e-6)


# Programs that find words differ in their networks alone: one of them is in the unit tests, all are in the sweep.
@pytest.mark.parametrize(
    "options",
    [SMALL[0], *(pytest.param(one, marks=pytest.mark.sweep) for one in SMALL[1:])],
    ids=lambda options: options.registered_name,
)
@pytest.mark.slow_unit(reason="a program that finds words has 300 operations, and torch takes 10 ms to trace one")
def test_the_exported_program_gives_the_same_for_any_number_of_texts(options):
    processor = fitted_to(TEXTS)
    model = EmbeddingModel(processor, options.build_for(processor))
    stored = io.BytesIO()
    torch.export.save(export_program(model), stored)
    stored.seek(0)
    program = torch.export.load(stored).module()
    rows = rows_of([*TEXTS, *(f"text number {n}" for n in range(12))])
    for count in (0, 1, 2, 3, 17):
        found = program(rows[:count])
        assert found.shape == (count, model.encoder.features) and torch.isfinite(found).all()
        torch.testing.assert_close(found, model(rows[:count]), rtol=0, atol=1e-6)
