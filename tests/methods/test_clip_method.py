"""CLIP: its loss of two towers beside OpenCLIP's, who is a positive, the scale that is held, and sub-batches."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor, nn

from cl_core.encoders import Encoder
from cl_core.encoders.two_towers import Tower, TwoTowers
from cl_core.losses.clip import Clip
from cl_core.losses.pairwise_logistic import PairwiseLogistic
from cl_core.methods import Method, Samples, StepInfo
from cl_core.methods.clip import ClipOptions
from cl_core.specs import TrainingSpec
from cl_core.training.gradients import backward
from cl_core.training.optimizer import build_optimizer

ROWS, WIDTH = 12, 6


def towers() -> TwoTowers:
    """Images of 5 numbers and texts of 7."""
    torch.manual_seed(0)
    networks = {
        name: nn.Sequential(nn.Linear(size, 16), nn.Tanh(), nn.Linear(16, 8))
        for name, size in (("image", 5), ("text", 7))
    }
    return TwoTowers({name: Tower(Encoder(network, 8), WIDTH) for name, network in networks.items()}, WIDTH).double()


def views(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(ROWS, size, generator=generator, dtype=torch.float64) for size in (5, 7))  # type: ignore[return-value]


def samples(identities: Tensor | None = None) -> Samples:
    return Samples(torch.arange(100, 100 + ROWS), identities=identities)


@pytest.mark.parametrize("loss", ["clip", "pairwise_logistic"])
def test_it_is_the_loss_of_open_clip_on_the_rows_of_both_towers(loss: str) -> None:
    method = ClipOptions().build(towers(), Clip() if loss == "clip" else PairwiseLogistic()).double()
    images, texts = views()
    step = method((images, texts), samples())
    unit = [F.normalize(method.encoder.tower(side)(view), dim=1) for side, view in enumerate((images, texts))]
    if loss == "clip":
        theirs = ClipLoss()(*unit, torch.tensor(1 / 0.07))
        assert step.metrics.keys() == {"log_scale"}
    else:
        theirs = SigLipLoss()(*unit, torch.tensor(10.0), torch.tensor(-10.0))
    assert step.loss.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert step.embeddings.shape == (2 * ROWS, WIDTH) and not step.embeddings.requires_grad


def test_samples_of_one_identity_are_positives_and_never_negatives() -> None:
    """Two captions of one image: the mean over each image's captions of -log softmax, written out."""
    method = ClipOptions().build(towers(), Clip(start_temperature=0.5)).double()
    identities = torch.tensor([0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    first, second = method.embed(views())
    unit = [F.normalize(rows, dim=1) for rows in (first, second)]
    same, logits = identities[:, None] == identities, unit[0] @ unit[1].T / 0.5
    there = (logits.logsumexp(1)[:, None] - logits)[same].mean()
    back = (logits.logsumexp(0)[None] - logits)[same].mean()
    step = method.contrast((first, second), samples(identities))
    assert step.loss.item() == pytest.approx(((there + back) / 2).item(), rel=1e-9)
    assert step.groups.tolist() == identities.tolist() * 2


def test_the_scale_is_held_between_one_and_its_most_after_each_step_and_comes_back() -> None:
    """As OpenCLIP clamps it: in place, after the step, so that its gradient is not lost at the bound."""
    method = ClipOptions().build(towers(), Clip()).double()
    (scale,) = [value for name, value in method.named_parameters() if name.endswith("log_scale")]
    for value, held in ((5.0, math.log(100)), (-1.0, 0.0), (2.0, 2.0)):
        scale.data.fill_(value)
        method.after_step(StepInfo())
        assert scale.item() == pytest.approx(held, abs=1e-12)
    scale.data.fill_(math.log(100))
    method(views(), samples()).loss.backward()
    assert scale.grad is not None and scale.grad.item() != 0


def test_the_scale_is_not_decayed() -> None:
    method = ClipOptions().build(towers(), Clip())
    optimizer = build_optimizer(method, TrainingSpec(weight_decay=0.1))
    decayed = [p for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]]
    assert all(p.ndim > 1 for p in decayed) and len(decayed) == 6


@pytest.mark.parametrize("loss", [Clip(), PairwiseLogistic()], ids=["clip", "pairwise_logistic"])
@pytest.mark.parametrize("sizes", [[6, 6], [5, 4, 3], [1] * 12])
def test_sub_batches_give_both_towers_the_gradient_of_the_whole_batch(loss: object, sizes: list[int]) -> None:
    whole = ClipOptions().build(towers(), loss).double()  # type: ignore[arg-type]
    parted, given = copy.deepcopy(whole), views()
    parts = np.split(np.arange(ROWS), np.cumsum(sizes)[:-1])
    results = []
    for method, cut in ((whole, [np.arange(ROWS)]), (parted, parts)):

        def embed(chosen: np.ndarray, of: Method = method) -> tuple[Tensor, ...]:
            return of.embed(tuple(view[chosen] for view in given))

        step = backward(method, embed, cut, samples(), scale=1)
        results.append([step.loss.detach(), *(p.grad for p in method.parameters())])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(second, first, rtol=0, atol=1e-12)


def test_embeddings_that_are_all_equal_cost_log_n() -> None:
    method = ClipOptions().build(towers(), Clip())
    assert method.trivial_losses(64) == {"every embedding is the same": pytest.approx(math.log(64), rel=1e-5)}
