"""The other implementations that parity is checked against; each is imported when it is asked for."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_core.losses.pairwise_logistic import PairwiseLogistic

SAMPLES, CLASSES, TEMPERATURE = 16, 4, 0.2

Quantity = Callable[[Tensor, Tensor], Tensor]
"""Two views, (N, D) float64 each, to a () loss."""


def labels() -> Tensor:
    """(2 N,) class of each row of two views."""
    return torch.arange(2 * SAMPLES) % CLASSES


def entropy_of(assign: Callable[[Tensor], Tensor]) -> Quantity:
    """Cross-entropy of the assignment of the first views under the second ones: one number for a whole matrix."""

    def quantity(first: Tensor, second: Tensor) -> Tensor:
        scores, predicted = (F.normalize(rows, dim=1) for rows in (first, second))
        return -(assign(scores.detach()) * F.log_softmax(predicted / 0.1, dim=1)).sum(1).mean()

    return quantity


def lightly(name: str, *arguments: float) -> Callable[[], Quantity]:
    """A loss of lightly by its name, with these arguments."""

    def load() -> Quantity:
        import lightly.loss

        loss: Quantity = getattr(lightly.loss, name)(*arguments)
        return loss

    return load


def lightly_assignment() -> Quantity:
    """Its Sinkhorn iterations, three at 0.05."""
    from lightly.loss.swav_loss import sinkhorn as theirs

    return entropy_of(lambda scores: theirs(scores, 3, 0.05))


def pml(name: str, make: Callable[[Any], Any]) -> tuple[str, Callable[[], Quantity]]:
    """A loss of pytorch-metric-learning on two views, and what it is called."""

    def load() -> Quantity:
        from pytorch_metric_learning import losses

        loss: Quantity = make(losses)
        return loss

    return name, load


def pml_labelled(make: Callable[[Any], Any]) -> Callable[[], Quantity]:
    """A loss of pytorch-metric-learning on both views together, by class."""

    def load() -> Quantity:
        import pytorch_metric_learning as library
        from pytorch_metric_learning import distances, losses, reducers  # noqa: F401 - become attributes

        loss = make(library)
        return lambda first, second: loss(torch.cat([first, second]), labels())

    return load


def n_pairs() -> Quantity:
    """Of pytorch-metric-learning, on dot products."""
    from pytorch_metric_learning.distances import DotProductSimilarity
    from pytorch_metric_learning.losses import NPairsLoss

    loss = NPairsLoss(distance=DotProductSimilarity(normalize_embeddings=False))
    # Its anchors are the first rows of each label, its positives the second.
    return lambda first, second: loss(torch.cat([first, second]), torch.arange(SAMPLES).repeat(2))


def info_nce_package() -> Quantity:
    """Queries to keys."""
    from info_nce import info_nce

    return lambda queries, keys: info_nce(queries, keys, temperature=TEMPERATURE)


def clip() -> Quantity:
    """Both ways, as CLIP is trained."""
    from open_clip.loss import ClipLoss

    loss = ClipLoss()
    return lambda first, second: loss(F.normalize(first, dim=1), F.normalize(second, dim=1), 1 / TEMPERATURE)


def siglip() -> Quantity:
    """At the scale and bias that training starts from."""
    from open_clip.loss import SigLipLoss

    loss = SigLipLoss()
    start = PairwiseLogistic().learned_start()
    scale, bias = (torch.tensor(start[name], dtype=torch.float64) for name in ("log_scale", "bias"))
    return lambda first, second: loss(F.normalize(first, dim=1), F.normalize(second, dim=1), scale.exp(), bias)


def binary_cross_entropy(first: Tensor, second: Tensor) -> Tensor:
    """Torch's own, of dot products against the identity."""
    return F.binary_cross_entropy_with_logits(first @ second.T, torch.eye(SAMPLES, dtype=torch.float64))


def torch_triplets(first: Tensor, second: Tensor) -> Tensor:
    """Torch's own, over all triplets of the labels."""
    classes, rows = labels().tolist(), F.normalize(torch.cat([first, second]), dim=1)
    everyone = range(len(classes))
    triplets = [
        (a, p, n)
        for a in everyone
        for p in everyone
        for n in everyone
        if a != p and classes[a] == classes[p] and classes[a] != classes[n]
    ]
    anchors, positives, negatives = (rows[list(chosen)] for chosen in zip(*triplets, strict=True))
    return F.triplet_margin_with_distance_loss(
        anchors, positives, negatives, distance_function=lambda x, y: (x - y).square().sum(1), margin=0.2
    )
