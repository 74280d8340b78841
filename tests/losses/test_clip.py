"""CLIP's loss against its equation, against OpenCLIP's with its learned scale, and the bounds of the scale."""

import math

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from pair_losses import EVERY_NORMALizED_LOSS, assert_is, cosine, learned, pairs_of, queries_and_keys, rows

from cl_core.errors import SpecError
from cl_core.losses.clip import Clip
from cl_core.registry import LOSSES


def by_the_equation(loss):
    """Fig. 3 of arXiv:2103.00020 one pair at a time, at the loss's first temperature."""

    def equation(anchors, candidates, relation):
        total, count = 0.0, 0
        for i, positives, negatives in pairs_of(relation):
            logit = {k: cosine(anchors[i], candidates[k]) / loss.start_temperature for k in positives + negatives}
            for k in positives:
                total += math.log(math.fsum(math.exp(one) for one in logit.values())) - logit[k]
                count += 1
        return total, count

    return equation


@pytest.mark.parametrize("keeps", EVERY_NORMALizED_LOSS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("loss", [Clip(tile=0), Clip(start_temperature=0.5, tile=4)], ids=str)
def test_it_has_the_properties_of_every_loss(loss, keeps):
    keeps(loss, by_the_equation(loss))


@pytest.mark.parametrize("scale", [1.0, 1 / 0.07, 100.0])
@pytest.mark.parametrize("tile", [0, 5])
def test_both_ways_it_is_open_clips_loss_in_value_and_in_all_three_gradients(scale, tile):
    loss = Clip(tile=tile)
    results = []
    for ours in (True, False):
        images, texts = rows(12, 6, seed=1).requires_grad_(), rows(12, 6, seed=2).requires_grad_()
        log_scale = torch.tensor(math.log(scale), dtype=torch.float64, requires_grad=True)
        if ours:
            there, back = (
                loss(first, second, queries_and_keys(12, 12), {"log_scale": log_scale}).mean
                for first, second in ((images, texts), (texts, images))
            )
            value = (there + back) / 2
        else:
            value = ClipLoss()(F.normalize(images, dim=1), F.normalize(texts, dim=1), log_scale.exp())
        results.append([value, *torch.autograd.grad(value, [images, texts, log_scale])])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("pairs", [2, 64])
def test_identical_embeddings_cost_log_n(pairs):
    embeddings, loss = torch.ones(pairs, 3, dtype=torch.float64), Clip()
    result = loss(embeddings, embeddings, queries_and_keys(pairs, pairs), learned(loss))
    assert_is(result, (pairs * math.log(pairs), pairs))


def test_it_learns_the_papers_scale_within_the_papers_bounds():
    assert Clip().learned_start() == {"log_scale": pytest.approx(2.659260, abs=1e-6)}
    assert Clip().learned_bounds() == {"log_scale": (0, pytest.approx(4.605170, abs=1e-6))}
    with pytest.raises(SpecError, match=r"loss_options.most_scale: .*greater than or equal to 1"):
        LOSSES.build("clip", {"most_scale": 0.5}, field="training.loss")
