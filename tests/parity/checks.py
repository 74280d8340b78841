"""Checks that compare each loss and method part with independent libraries: values and gradients.

A check is one quantity computed twice from the same float64 embeddings, by this project and by a reference library.
It uses the code that training uses, so that anyone can verify a loss on their own machine.
"""

import importlib.metadata
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from cl_core.losses import PairLoss, Relation, RowIds, relation_within
from cl_core.methods._sinkhorn import sinkhorn
from cl_core.methods.barlow_twins import BarlowTwinsOptions
from cl_core.methods.vicreg import VICRegOptions
from cl_core.parallel.sync_batch_norm import SyncBatchNorm
from cl_core.registry import LOSSES
from parity import libraries
from parity.libraries import SAMPLES, TEMPERATURE, Quantity, labels

FEATURES = 8
TOLERANCE = 1e-10

ELSEWHERE = {
    "margin_contrastive": "none of these libraries has the squared form; the tests check its equation in float64",
    "simclr": "see info_nce",
    "dacl": "see info_nce",
    "moco_v2": "see info_nce, queries to keys",
    "moco_v3": "see info_nce, queries to keys",
    "facenet": "see triplet",
    "siamese": "see margin_contrastive and logistic",
}
"""Parts without a check of their own, with the reason."""


class Check(NamedTuple):
    """A quantity that this project and a library both compute."""

    part: str  # The component it belongs to: a loss's or method's name, or what several methods share.
    what: str  # Which form of it.
    library: str  # Distribution that the other implementation comes from.
    ours: Quantity
    theirs: Callable[[], Quantity]  # Imports the library.


class ParityResult(NamedTuple):
    """The result of a check; numbers are NaN when the library is not installed."""

    check: Check
    version: str
    ours: float
    theirs: float
    value_difference: float
    gradient_difference: float
    verdict: Literal["equal", "differs", "not installed"]


def compare(check: Check) -> ParityResult:
    """Compute a quantity and its gradient both ways; equal when no number differs by more than 1e-10."""
    try:
        version, theirs = importlib.metadata.version(check.library), check.theirs()
    except (importlib.metadata.PackageNotFoundError, ImportError):
        return ParityResult(check, "", math.nan, math.nan, math.nan, math.nan, "not installed")
    (value, gradient), (other, other_gradient) = (_with_gradient(quantity) for quantity in (check.ours, theirs))
    apart, gradients_apart = abs(value - other), float((gradient - other_gradient).abs().max())
    equal = apart <= TOLERANCE and gradients_apart <= TOLERANCE
    return ParityResult(check, version, value, other, apart, gradients_apart, "equal" if equal else "differs")


def _with_gradient(quantity: Quantity) -> tuple[float, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    second = first + 0.5 * torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    views = first.requires_grad_(), second.detach().requires_grad_()
    value = quantity(*views)
    gradients = torch.autograd.grad(value, views, allow_unused=True, materialize_grads=True)
    return value.item(), torch.cat(gradients)


def checks() -> Iterator[Check]:
    """Yield all checks; a part without any has no independent implementation in these libraries."""
    yield from _softmax_losses()
    yield from _other_losses()
    yield from _objectives()


def _softmax_losses() -> Iterator[Check]:
    published = _loss("info_nce", temperature=TEMPERATURE)
    pml_ntxent = libraries.pml(
        "SelfSupervisedLoss(NTXentLoss)", lambda pml: pml.SelfSupervisedLoss(pml.NTXentLoss(TEMPERATURE))
    )
    yield Check(
        "info_nce", "NTXentLoss", "lightly", _among_views(published), libraries.lightly("NTXentLoss", TEMPERATURE)
    )
    yield Check("info_nce", pml_ntxent[0], "pytorch-metric-learning", _among_views(published), pml_ntxent[1])
    yield Check("info_nce", "queries to keys", "info-nce-pytorch", _to_keys(published), libraries.info_nce_package)
    yield Check("info_nce", "CLIP, both ways", "open-clip-torch", _both_ways(published), libraries.clip)
    at_start = _loss("clip", start_temperature=TEMPERATURE)
    yield Check("clip", "ClipLoss", "open-clip-torch", _both_ways(at_start), libraries.clip)
    yield Check(
        "decoupled",
        "DCLLoss",
        "lightly",
        _among_views(_loss("decoupled", temperature=TEMPERATURE)),
        libraries.lightly("DCLLoss", TEMPERATURE),
    )
    unbiased = _loss("debiased", temperature=TEMPERATURE, tau_plus=0)
    yield Check(
        "debiased",
        "tau_plus 0 is NTXentLoss",
        "lightly",
        _among_views(unbiased),
        libraries.lightly("NTXentLoss", TEMPERATURE),
    )
    yield Check(
        "supcon",
        "SupConLoss",
        "pytorch-metric-learning",
        _among_classes(_loss("supcon", temperature=TEMPERATURE)),
        libraries.pml_labelled(lambda pml: pml.losses.SupConLoss(TEMPERATURE)),
    )
    yield Check(
        "n_pair",
        "NPairsLoss on dot products",
        "pytorch-metric-learning",
        _to_keys(_loss("n_pair", l2_weight=0)),
        libraries.n_pairs,
    )


def _other_losses() -> Iterator[Check]:
    triplet = _among_classes(_loss("triplet", margin=0.2, mining="all"))
    yield Check(
        "triplet", "TripletMarginWithDistanceLoss, all triplets", "torch", triplet, lambda: libraries.torch_triplets
    )
    yield Check(
        "triplet",
        "TripletMarginLoss, all triplets",
        "pytorch-metric-learning",
        triplet,
        libraries.pml_labelled(
            lambda pml: pml.losses.TripletMarginLoss(
                0.2, distance=pml.distances.LpDistance(power=2), reducer=pml.reducers.MeanReducer()
            )
        ),
    )
    logistic = _loss("logistic", similarity="dot", scale=1, bias=0, balanced=False)
    yield Check(
        "logistic",
        "binary_cross_entropy_with_logits",
        "torch",
        _to_keys(logistic),
        lambda: libraries.binary_cross_entropy,
    )
    yield Check(
        "pairwise_logistic", "SigLipLoss", "open-clip-torch", _to_keys(_loss("pairwise_logistic")), libraries.siglip
    )


def _objectives() -> Iterator[Check]:
    twins = BarlowTwinsOptions(redundancy_weight=5e-3, scale=1).objective
    yield Check("barlow_twins", "BarlowTwinsLoss", "lightly", twins, libraries.lightly("BarlowTwinsLoss", 5e-3))
    regularised = VICRegOptions(invariance_weight=25, variance_weight=25, covariance_weight=1).objective
    yield Check("vicreg", "VICRegLoss", "lightly", regularised, libraries.lightly("VICRegLoss"))
    yield Check(
        "swav", "Sinkhorn assignment", "lightly", libraries.entropy_of(_our_assignment), libraries.lightly_assignment
    )
    yield Check("batch norm over workers", "BatchNorm1d", "torch", _norm(SyncBatchNorm), lambda: _norm(nn.BatchNorm1d))


# --- our side: a loss on two views, in the relations that methods make


def _loss(name: str, **options: Any) -> PairLoss:
    loss: PairLoss = LOSSES.build(name, options, field="training.loss")
    return loss


def _apply(loss: PairLoss, anchors: Tensor, candidates: Tensor, relation: Relation) -> Tensor:
    learned = {name: torch.tensor(start, dtype=torch.float64) for name, start in loss.learned_start().items()}
    return loss(anchors, candidates, relation, learned).mean


def _among_views(loss: PairLoss) -> Quantity:
    """Views of a sample are positives, all other rows of the batch negatives."""
    relation = relation_within(torch.arange(SAMPLES).repeat(2), views=2)
    return lambda first, second: _apply(loss, rows := torch.cat([first, second]), rows, relation)


def _among_classes(loss: PairLoss) -> Quantity:
    """Rows of a class are positives."""
    relation = relation_within(labels())
    return lambda first, second: _apply(loss, rows := torch.cat([first, second]), rows, relation)


def _to_keys(loss: PairLoss) -> Quantity:
    """The first views are queries, the second ones keys."""
    samples = torch.arange(SAMPLES)
    first, second = (RowIds(samples, torch.full_like(samples, view), samples) for view in (0, 1))
    return lambda queries, keys: _apply(loss, queries, keys, Relation(first, second))


def _both_ways(loss: PairLoss) -> Quantity:
    one_way = _to_keys(loss)
    return lambda first, second: (one_way(first, second) + one_way(second, first)) / 2


def _norm(kind: type[nn.Module]) -> Quantity:
    weights = torch.linspace(-1, 1, FEATURES, dtype=torch.float64)
    return lambda first, second: (kind(FEATURES).double()(torch.cat([first, second])).sigmoid() @ weights).sum()


def _our_assignment(scores: Tensor) -> Tensor:
    return sinkhorn(scores, epsilon=0.05, iterations=3)
