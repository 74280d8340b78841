"""Health metrics of a batch's embeddings."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_core.evaluation.embedding_metrics import effective_rank, feature_std, uniformity
from cl_core.methods import Step
from cl_core.parallel import collectives

# Maximum rows of a batch that are measured: the cost must not grow with the square of the batch.
_MOST_SAMPLES = 512


class Health(NamedTuple):
    """Metrics of one batch; see `cl_core.training.progress.Progress` for their meaning."""

    accuracy: float
    alignment: float
    intraclass_correlation: float
    uniformity: float
    feature_std: float
    effective_rank: float
    dimensions: int
    """D, of the embeddings."""
    groups: int
    """Distinct groups among the samples: as many as samples, or classes where labels decide what belongs together."""


@torch.no_grad()
def health(embeddings: Tensor, groups: Tensor) -> Health:
    """Compute the metrics of a batch's embeddings.

    Uniformity, standard deviation and rank are those of the first view of each sample: independent samples, as Wang &
    Isola define the first. With the other views, the nearness of positives would count as lack of uniformity.

    Args:
        embeddings: (N, V, D) float32, V views of each of at least two samples.
        groups: (N, V) int64; rows of one group are what the method wants alike.
    """
    # The loss reports values that are not finite; here they must not stop a decomposition.
    embeddings = embeddings.nan_to_num()
    unit = F.normalize(embeddings, dim=2)
    alike, apart = pair_distances(unit, groups)
    return Health(
        accuracy=contrastive_accuracy(unit, groups).item(),
        alignment=alike.nan_to_num().item(),
        intraclass_correlation=(1 - alike / apart).nan_to_num(0, neginf=0).item(),
        uniformity=uniformity(unit[:, 0]).item(),
        feature_std=feature_std(unit[:, 0]).item(),
        effective_rank=effective_rank(embeddings[:, 0]).item(),
        dimensions=embeddings.shape[2],
        groups=len(torch.unique(groups[:, 0])),
    )


def of_all_workers(step: Step, *, samples: int) -> tuple[Tensor, Tensor]:
    """Gather embeddings and groups of the whole batch, or of its first samples if it is large; a collective call.

    Args:
        step: This worker's.
        samples: B, this worker's; the step's rows are ordered by view.

    Returns:
        (N, V, D) and (N, V), the same on every worker.
    """
    own = -(-_MOST_SAMPLES // collectives.world_size())
    embeddings = step.embeddings.float().view(-1, samples, step.embeddings.shape[1]).transpose(0, 1)[:own]
    groups = step.groups.view(-1, samples).T[:own]
    return collectives.all_gather(embeddings.contiguous()), collectives.all_gather(groups.contiguous())


def contrastive_accuracy(unit: Tensor, groups: Tensor) -> Tensor:
    """Return the share of rows whose most similar row of another view is in the same group.

    Args:
        unit: (N, V, D) unit rows. With a single view, all other rows are compared.
        groups: (N, V) int64.
    """
    samples, views = groups.shape
    rows, group = unit.flatten(0, 1), groups.flatten()
    similarities = rows @ rows.T
    if views == 1:
        similarities.fill_diagonal_(-torch.inf)
    else:
        view = torch.arange(views, device=group.device).repeat(samples)
        similarities.masked_fill_(view[:, None] == view, -torch.inf)
    return (group[similarities.argmax(dim=1)] == group).float().mean()


def pair_distances(unit: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean squared distance within and between groups, across different views if there are several.

    The first is the alignment: 0 when all coincide. One minus its ratio to the second is the intraclass correlation,
    the share of the variance of embeddings that lies between groups: 0 when rows of a group are no nearer to each
    other than to all others, 1 when they coincide and others do not.

    Args:
        unit: (N, V, D) unit rows.
        groups: (N, V) int64.

    Returns:
        () float64 each; not a number where there is no such pair.

    Source: Wang & Isola 2020, arXiv:2005.10242, Eq. 4 with alpha = 2; Fisher 1925, "Statistical methods for research
    workers", Sec. 38. Differences: none for two views of a sample.
    """
    # Sums over groups in place of all pairs; in float64, because small distances are differences of large sums.
    rows = unit.double()
    group = torch.unique(groups, return_inverse=True)[1]
    number = int(group.max()) + 1
    alike, alike_pairs = _distances_within(rows, group, number)
    every, every_pairs = _distances_within(rows, torch.zeros_like(group), 1)
    return alike / alike_pairs, (every - alike) / (every_pairs - alike_pairs)


def _distances_within(rows: Tensor, group: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return the sum of squared distances over ordered pairs of a group, and the number of pairs.

    Of rows a and b: |a|^2 + |b|^2 - 2 ab, each summed over all pairs first.
    """
    _, views, width = rows.shape
    place = (group * views + torch.arange(views, device=group.device)).flatten()
    flat = rows.flatten(0, 1)
    sums = rows.new_zeros(number * views, width).index_add_(0, place, flat).view(number, views, width)
    squares, counts = (
        rows.new_zeros(number * views).index_add_(0, place, values).view(number, views)
        for values in (flat.square().sum(1), rows.new_ones(len(flat)))
    )
    partners = counts - 1 if views == 1 else counts.sum(1, keepdim=True) - counts
    no_pairs = squares.sum() if views == 1 else sums.square().sum()
    products = sums.sum(1).square().sum() - no_pairs
    return (2 * (squares * partners).sum() - 2 * products).clamp(min=0), (counts * partners).sum()
