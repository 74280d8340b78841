"""MoCo v2: a query finds its key, computed by a momentum network, among a queue of earlier keys."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cl_core.encoders import Encoder
from cl_core.losses import PairLoss, Relation, RowIds, at_least_float32
from cl_core.methods import FromPaper, Method, MethodOptions, Samples, Step, StepInfo, option_error, require_loss
from cl_core.methods._contrast import Contrast, gathered
from cl_core.methods._momentum import MomentumNetwork
from cl_core.methods._queues import KeyQueue
from cl_core.parallel import collectives
from cl_core.registry import METHODS

# Samples of the training split for each key in the queue, at least.
_SAMPLES_PER_KEY = 10


@METHODS.register("moco_v2")
class MoCoV2Options(MethodOptions):
    """Options of MoCo v2. Source: He et al. 2019, arXiv:1911.05722, Alg. 1; Chen et al. 2020, arXiv:2003.04297.

    Differences: no shuffling of keys between workers, because a key does not depend on its batch (see `MoCoV2`).
    Defaults of queue and momentum are those of the authors' notebook for CIFAR-10, of the temperature the paper's.
    """

    paper_loss: ClassVar[FromPaper | None] = FromPaper("info_nce", {"temperature": 0.2})
    paper_views: ClassVar[FromPaper] = FromPaper("moco_v2")

    projector_hidden: int = Field(512, ge=1, le=65_536, title="Projector hidden width")
    """Width of the projector's hidden layer. Units; paper: 2048, the encoder's own width."""
    projector_features: int = Field(128, ge=2, le=65_536, title="Projector output width")
    """Dimensions in which queries and keys are compared. Units; paper: 128."""
    queue_size: int = Field(4096, ge=1, le=1_048_576)
    """K, keys of earlier batches that serve as negatives for every query; at most a tenth of the training split. Keys;
    paper: 65536 on ImageNet, the authors' notebook: 4096 on CIFAR-10."""
    momentum: float = Field(0.99, ge=0, lt=1, title="Momentum of the key network")
    """Momentum: share of its own weights that the key network keeps at each step. Dimensionless; paper: 0.999 on
    ImageNet, the authors' notebook: 0.99 on CIFAR-10."""
    symmetric: bool = False
    """On: each view is both query and key, at twice the cost per step; the loss is the mean over both directions. Off,
    as in the paper: the first view is the query, the second the key."""

    def check_data(self, *, batch_size: int, train_rows: int) -> None:
        """Refuse a queue so long that a query's near duplicates are often among its negatives."""
        most = train_rows // _SAMPLES_PER_KEY
        if self.queue_size > most:
            raise option_error(
                "queue_size",
                f"{self.queue_size} keys exceed a tenth of the {train_rows} samples of the training split: too "
                f"many of a query's negatives would show what it shows (false negatives); choose at most {most}, or a "
                "method without a queue, such as 'simclr'",
            )

    def build(self, encoder: Encoder, loss: PairLoss | None) -> Method:
        """Build a projector with one hidden layer and no batch norm, as in the paper; dropped after training."""
        hidden, width = self.projector_hidden, self.projector_features
        projector = nn.Sequential(nn.Linear(encoder.features, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width))
        queue = KeyQueue(size=self.queue_size, features=width)
        return MoCoV2(encoder, projector, queue, require_loss(loss), momentum=self.momentum, symmetric=self.symmetric)


class MoCoV2(Method):
    """Encoder and projector f_q, their moving average f_k, and a queue; reads like the paper's Algorithm 1.

    Batch norm would let a query and its key recognize each other by the statistics of their batches. The paper
    shuffles keys between workers; here f_k normalizes with running statistics that are averages of f_q's, so that no
    key depends on its batch, with any number of workers. Those of the first step, before which there are no
    statistics, do.

    If a sample occurs again while its key is in the queue, that key is left out: it is not a negative.
    Each query has one positive, the key of its own batch, as in the paper's Eq. 1, unless other samples of the batch
    have its identity.

    The momentum does not warm up, as moving averages elsewhere do: f_k would change so much while the queue fills that
    their age would distinguish its keys. With min(momentum, (1 + t) / (10 + t)) at step t, embeddings on Fashion-MNIST
    had an effective rank of 4 after 240 steps, and have one of 38 without.

    Args:
        encoder: Of f_q.
        projector: Of f_q.
        queue: Of keys.
        loss: Compares queries with their keys and with the queue.
        momentum: Of f_k.
        symmetric: Whether each view is a query and a key.
    """

    def __init__(
        self,
        encoder: Encoder,
        projector: nn.Module,
        queue: KeyQueue,
        loss: PairLoss,
        *,
        momentum: float,
        symmetric: bool,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.key_network = MomentumNetwork(nn.Sequential(encoder, projector), averages_statistics=True)
        self.queue = queue
        self.compare = Contrast(loss)
        self.momentum = momentum
        self.query_views, self.key_views = ([0, 1], [0, 1]) if symmetric else ([0], [1])
        self._to_enter: list[tuple[Tensor, Tensor]] = []

    def embed(self, views: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Compute queries, then keys, each view by itself, as unit rows."""
        queries = [self.projector(self.encoder(views[view])) for view in self.query_views]
        keys = [self.key_network(views[view]) for view in self.key_views]
        return tuple(F.normalize(at_least_float32(rows), dim=1) for rows in (*queries, *keys))

    def contrast(self, embedded: tuple[Tensor, ...], samples: Samples) -> Step:
        """Compare this worker's queries with their keys and the queue."""
        ids, groups, directions = samples.ids, samples.groups, len(self.query_views)
        queries = torch.cat(embedded[:directions])
        # Sample by sample: in which order keys enter the queue must not depend on how samples are shared out.
        keys = collectives.all_gather(torch.stack(embedded[directions:], dim=1).detach()).flatten(0, 1)
        query_views = torch.tensor(self.query_views, device=ids.device).repeat_interleave(len(ids))
        key_views = torch.tensor(self.key_views, device=ids.device).repeat(len(ids))
        of = RowIds(ids.repeat(directions), query_views, groups.repeat(directions))
        own_keys = RowIds(ids.repeat_interleave(directions), key_views, groups.repeat_interleave(directions))
        among = gathered(own_keys)
        self._to_enter.append((keys, among.groups))
        relation = beside_a_queue(of, among, self.queue.samples)
        return Step(
            loss=self.compare.against(queries, torch.cat([keys, self.queue.keys]), relation),
            embeddings=torch.cat(embedded[:2]).detach(),
            groups=groups.repeat(2),
        )

    def after_step(self, moment: StepInfo) -> None:
        """Update the key network; enqueue the keys of all batches and both directions of the step."""
        super().after_step(moment)
        self.key_network.follow(nn.Sequential(self.encoder, self.projector), momentum=self.momentum)
        for keys, groups in self._to_enter:
            self.queue.enter(keys, groups)
        self._to_enter.clear()

    def trivial_losses(self, samples: int) -> dict[str, float]:
        """Return the loss of a query equally similar to its key and to every other; for any number of samples."""
        same = torch.zeros(1, dtype=torch.int64)
        query, key = (RowIds(same, torch.tensor([view]), same) for view in (0, 1))
        others = torch.ones_like(self.queue.samples, device="cpu")
        relation = beside_a_queue(query, key, others)
        return {"every embedding is the same": self.compare.collapsed_loss(relation)}


def beside_a_queue(queries: RowIds, keys: RowIds, queued: Tensor) -> Relation:
    """Return the relation of queries to the N keys of their batch followed by K keys of the queue.

    Args:
        queries: Of this worker.
        keys: Of all workers.
        queued: (K,) int64, the identity of the sample that each key in the queue is of.
    """
    samples, groups = (torch.cat([of, queued]) for of in (keys.samples, keys.groups))
    behind = torch.arange(len(groups), device=groups.device) >= len(keys.groups)
    views = torch.cat([keys.views, torch.zeros_like(queued)])
    return Relation(queries, RowIds(samples=samples, views=views, groups=groups), queued=behind)
