"""MoCo v3: each view predicts the other's key, computed by a momentum network, among the keys of the batch."""

import math
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from cl_core.encoders import Encoder
from cl_core.errors import SpecError
from cl_core.losses import PairLoss, Relation, RowIds, at_least_float32
from cl_core.losses._pair_sums import SoftmaxLoss
from cl_core.methods import FromPaper, Method, MethodOptions, Samples, Step, StepInfo
from cl_core.methods._contrast import Contrast, row_ids
from cl_core.methods._heads import mlp_head
from cl_core.methods._momentum import MomentumNetwork
from cl_core.registry import METHODS


@METHODS.register("moco_v3")
class MoCoV3Options(MethodOptions):
    """Options of MoCo v3. Source: Chen et al. 2021, arXiv:2104.02057, Alg. 1 and its published code for ResNets.

    Differences: narrower hidden layers, for CPUs. The temperature is the paper's for ViTs and solo-learn's on CIFAR-10;
    the published code for ResNets has 1 on ImageNet.
    """

    paper_loss: ClassVar[FromPaper | None] = FromPaper("info_nce", {"temperature": 0.2})
    paper_views: ClassVar[FromPaper] = FromPaper("moco_v3")

    projector_hidden: int = Field(1024, ge=1, le=65_536, title="Projector hidden width")
    """Width of the projector's hidden layer. Units; paper: 4096; less here, for CPUs."""
    projector_features: int = Field(256, ge=2, le=65_536, title="Projector output width")
    """Dimensions in which queries and keys are compared. Units; paper: 256."""
    predictor_hidden: int = Field(1024, ge=1, le=65_536, title="Predictor hidden width")
    """Width of the predictor's hidden layer. Units; paper: 4096; less here, for CPUs."""
    momentum: float = Field(0.99, ge=0, lt=1, title="Momentum of the key network")
    """Momentum: share of its own weights that the key network keeps at each step, at the start; it rises to 1 along a
    cosine over the training. Dimensionless; paper: 0.99, and 0.996 for 1000 epochs."""

    def check(self, loss: PairLoss | None, *, epochs: int) -> None:
        """Refuse a loss without a temperature: the loss is scaled by it."""
        if not isinstance(loss, SoftmaxLoss):
            raise SpecError(
                "training.loss: method 'moco_v3' multiplies its loss by twice the temperature, and "
                f"{type(loss).__name__} has none; choose a softmax over cosine similarities, such as 'info_nce'"
            )

    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build projector and predictor with one hidden layer each, as in the paper; dropped after training."""
        assert isinstance(loss, SoftmaxLoss), "check refuses others"
        width = self.projector_features
        projector = mlp_head([encoder.features, self.projector_hidden, width], last_norm=True, last_affine=False)
        predictor = mlp_head([width, self.predictor_hidden, width], last_bias=False)
        return MoCoV3(encoder, projector, predictor, loss, momentum=self.momentum)


class MoCoV3(Method):
    """Encoder, projector and predictor f_q, and the moving average f_k of the first two; reads like Algorithm 1.

    Args:
        encoder: Of f_q; its average is of f_k.
        projector: Likewise.
        predictor: Of f_q alone.
        loss: Compares each query with all workers' keys of the other view.
        momentum: Of f_k, at the start.
    """

    def __init__(
        self, encoder: Encoder, projector: nn.Module, predictor: nn.Module, loss: SoftmaxLoss, *, momentum: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.predictor = predictor
        self.key_network = MomentumNetwork(nn.Sequential(encoder, projector), averages_statistics=False)
        self.compare = Contrast(loss)
        self.temperature = loss.temperature
        self.momentum = momentum

    def embed(self, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Compute queries of both views, then their keys; each view by itself, as in the published code."""
        queries = [self.predictor(self.projector(self.encoder(view))) for view in views]
        keys = [self.key_network(view) for view in views]
        return tuple(at_least_float32(rows) for rows in (*queries, *keys))

    def contrast(self, embedded: tuple[Tensor, ...], samples: Samples) -> Step:
        """Compute ctr(q1, k2) + ctr(q2, k1), where ctr is 2 T times the loss."""
        queries, keys = embedded[:2], [rows.detach() for rows in embedded[2:]]
        first = row_ids(samples, views=1)
        second = replace(first, views=first.views + 1)
        there = self.compare(queries[0], first, keys[1], second)
        back = self.compare(queries[1], second, keys[0], first)
        return Step(2 * self.temperature * (there + back), torch.cat(queries).detach(), samples.groups.repeat(2))

    def after_step(self, moment: StepInfo) -> None:
        """Update the key network."""
        super().after_step(moment)
        momentum = rising_momentum(self.momentum, moment)
        self.key_network.follow(nn.Sequential(self.encoder, self.projector), momentum=momentum)

    def trivial_losses(self, samples: int) -> dict[str, float]:
        """Return the loss of queries equally similar to their own keys and to all others."""
        among = torch.arange(samples)
        query, keys = RowIds(among[:1], among[:1], among[:1]), RowIds(among, torch.ones_like(among), among)
        ctr = 2 * self.temperature * self.compare.collapsed_loss(Relation(query, keys))
        return {"every embedding is the same": 2 * ctr}


def rising_momentum(start: float, moment: StepInfo) -> float:
    """Return the momentum of a step, rising from `start` to 1 along half a cosine.

    Source: Chen et al. 2021, arXiv:2104.02057, Sec. 4.1, and its published code, which moves at the beginning of the
        next step: hence the next step's momentum. Differences: none.
    """
    progress = (moment.step + 1) / moment.steps
    return 1 - (1 - start) * (1 + math.cos(math.pi * progress)) / 2
