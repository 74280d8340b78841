"""Pair losses: pure functions of anchors, candidates and how they are related. One file each.

A pair loss never sees a process group, a model or a device. The same signature serves one set of embeddings
(SimCLR), queries against keys and a queue (MoCo), two modalities (CLIP) and labels (SupCon): only the ids differ.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from cl_core.registry import Component


@dataclass(frozen=True)
class RowIds:
    """The sample, view and group of each row of a set of embeddings.

    Args:
        samples: (R,) int64, the sample that the row is a view of.
        views: (R,) int64, which view of it. (sample, view) identifies a row.
        groups: (R,) int64; rows of one group are positives of each other: the sample itself, or its class.
    """

    samples: Tensor
    views: Tensor
    groups: Tensor


@dataclass(frozen=True)
class Relation:
    """How anchors and candidates are related, derived from ids and never from positions.

    Args:
        anchors: Who the anchors are.
        candidates: Who the candidates are.
        queued: (K,) bool, true where a candidate comes from a queue of earlier batches; None without a queue. Beside a
            queue, positives are of the batch and negatives of the queue. The rest of the batch is left out, and so is
            the anchor's own group in the queue.
    """

    anchors: RowIds
    candidates: RowIds
    queued: Tensor | None = None

    @property
    def excluded_mask(self) -> Tensor:
        """(A, K) bool, true where a pair is left out: a row with itself, or excluded beside a queue."""
        same_sample = self.anchors.samples[:, None] == self.candidates.samples[None, :]
        excluded = same_sample & (self.anchors.views[:, None] == self.candidates.views[None, :])
        return excluded if self.queued is None else excluded | (self.same_group == self.queued)

    @property
    def same_group(self) -> Tensor:
        """(A, K) bool, true where a candidate shares the anchor's group; the anchor itself does too."""
        return self.anchors.groups[:, None] == self.candidates.groups[None, :]

    @property
    def positives(self) -> Tensor:
        """(A, K) bool, true where a candidate shares the anchor's group and is not the anchor itself."""
        return self.same_group & ~self.excluded_mask


@dataclass(frozen=True)
class LossSum:
    """A loss before its mean is taken, so that workers with unequal shares can be averaged exactly.

    Args:
        total: () float32, the sum over what is averaged.
        count: () float32, how many terms the sum has, without gradient.
    """

    total: Tensor
    count: Tensor

    @property
    def mean(self) -> Tensor:
        """() float32, the mean within this process; zero when there was no term."""
        return self.total / self.count.clamp(min=1)


Learned = Mapping[str, Tensor]
"""What a loss learns with the encoder, such as a temperature: () float32 each, by name."""


class PairLoss(Component):
    """A loss over pairs of embeddings. Its fields are its options."""

    def learned_start(self) -> dict[str, float]:
        """Return initial values of the parameters that the loss learns; most losses learn none."""
        return {}

    def learned_bounds(self) -> dict[str, tuple[float, float]]:
        """Return between which values parameters that the loss learns are held; by default nothing holds them."""
        return {}

    def logit_scale(self, learned: Mapping[str, float]) -> float | None:
        """Return by what cosines are multiplied to be logits, once `learned` is; None where they are none."""
        del learned
        return None

    def __call__(
        self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned = MappingProxyType({})
    ) -> LossSum:
        """Compute the loss of the anchors in float32 or better: half precision cannot hold similarities / temperature.

        Args:
            anchors: (A, D) float, this worker's own rows; normalized inside where the paper does.
            candidates: (K, D) float, all rows that an anchor may be compared with.
            relation: Who is who.
            learned: The present values of what `learned_start` names.

        Raises:
            ValueError: When shapes and ids do not fit together, or something learned is missing.
        """
        _check_shapes(anchors, candidates, relation)
        if learned.keys() != self.learned_start().keys():
            raise ValueError(f"{type(self).__name__} learns {sorted(self.learned_start())}; got {sorted(learned)}")
        with torch.autocast(anchors.device.type, enabled=False):
            return self.compute(at_least_float32(anchors), at_least_float32(candidates), relation, learned)

    @abstractmethod
    def compute(self, anchors: Tensor, candidates: Tensor, relation: Relation, learned: Learned) -> LossSum:
        """Compute the loss in the precision of its inputs."""


def at_least_float32(rows: Tensor) -> Tensor:
    """Return the rows in float32 if they are in half precision, else unchanged."""
    return rows if rows.dtype.itemsize >= 4 else rows.float()


def _check_shapes(anchors: Tensor, candidates: Tensor, relation: Relation) -> None:
    """Refuse embeddings that do not fit together or to their ids."""
    if anchors.ndim != 2 or candidates.ndim != 2 or anchors.shape[1] != candidates.shape[1]:
        raise ValueError(
            "wanted anchors (A, D) and candidates (K, D) with one D; "
            f"got {tuple(anchors.shape)} and {tuple(candidates.shape)}"
        )
    for name, rows, ids in (("anchors", anchors, relation.anchors), ("candidates", candidates, relation.candidates)):
        if not ids.samples.shape == ids.views.shape == ids.groups.shape == (len(rows),):
            raise ValueError(
                f"wanted one id for each of the {len(rows)} {name}; got samples {tuple(ids.samples.shape)}, "
                f"views {tuple(ids.views.shape)}, groups {tuple(ids.groups.shape)}"
            )
    if relation.queued is not None and relation.queued.shape != (len(candidates),):
        raise ValueError(
            f"wanted queued for each of the {len(candidates)} candidates; got {tuple(relation.queued.shape)}"
        )


def relation_within(groups: Tensor, *, views: int = 1) -> Relation:
    """Return the relation of a set of rows to itself, rows ordered by view: all of view 0, then view 1, ...

    Args:
        groups: (R,) int64 group of each row.
        views: Views per sample; R is a multiple of it.
    """
    samples_per_view = len(groups) // views
    samples = torch.arange(samples_per_view, device=groups.device).repeat(views)
    view = torch.arange(views, device=groups.device).repeat_interleave(samples_per_view)
    ids = RowIds(samples=samples, views=view, groups=groups)
    return Relation(ids, ids)
