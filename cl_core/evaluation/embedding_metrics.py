"""Geometry of embeddings on the sphere: metrics that show collapse, with or without labels.

Training watches them batch by batch, the evaluation reports them on the test split. A loss can fall while all
embeddings run together; these figures cannot.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Of the Gaussian kernel behind uniformity; the value of Wang & Isola.
UNIFORMITY_T = 2.0


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared distance of each sample's two views on the unit sphere; their mean is the alignment.

    Args:
        first: (N, D) embeddings of one view, normalized here.
        second: (N, D) those of the other view, row i of the same sample.

    Returns:
        (N,) float32 squared distances: 0 where the views coincide, 2 at right angles, 4 where they are opposite.
    """
    return (_unit(first) - _unit(second)).square().sum(dim=1)


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean squared distance of two (N, D) views of the same samples on the unit sphere.

    Returns:
        () float32. 0 is ideal, and 0 at collapse too: read it beside the uniformity. 2 when views are unrelated.

    Source: Wang & Isola 2020, "Understanding contrastive representation learning through alignment and uniformity on
    the hypersphere", arXiv:2005.10242, Eq. 4 with alpha = 2. Differences: none.
    """
    return squared_distances(first, second).mean()


def gaussian_kernel(embeddings: Tensor) -> Tensor:
    """Return exp(-2 squared distance) of each pair of unit rows: (N, N) float32, 0 on the diagonal."""
    unit = _unit(embeddings)
    # Not 2 - 2 cosine: rows that are zero stay zero, and lie together.
    norms = unit.square().sum(dim=1)
    distances = (norms[:, None] + norms - 2 * (unit @ unit.T)).clamp(min=0)
    return torch.exp(-UNIFORMITY_T * distances).fill_diagonal_(0)


def uniformity(embeddings: Tensor) -> Tensor:
    """Return the log of the mean Gaussian kernel over all pairs of different samples on the unit sphere.

    Args:
        embeddings: (N, D), at least two rows, normalized here.

    Returns:
        () float32. 0 at collapse; about -4 + 8 / D when spread evenly: -3.94 at D = 128.

    Source: Wang & Isola 2020, arXiv:2005.10242, Eq. 5 with t = 2. Differences: none.
    """
    return log_mean_of_pairs(gaussian_kernel(embeddings))


def log_mean_of_pairs(kernel: Tensor) -> Tensor:
    """Return the log of the mean of an (N, N) kernel over pairs of different samples; its diagonal is 0."""
    pairs = len(kernel) * (len(kernel) - 1)
    return (kernel.sum() / pairs).log()


def effective_rank(embeddings: Tensor) -> Tensor:
    """Return the exponential of the entropy of the singular values: how many directions the embeddings use.

    Args:
        embeddings: (N, D), as given: neither centered nor normalized. Comparable for equal N, and within one method.

    Returns:
        () float32. 1 at collapse to a line; D when all directions are used alike; 127.5 for a Gaussian 4,096 x 128.

    Source: Garrido et al. 2023, "RankMe", arXiv:2210.02885, Eq. 1. Differences: no epsilon is added to the shares,
    which would make them sum to more than 1.
    """
    exact = embeddings.detach().double()
    # Squares of the singular values, from the smaller of the two products: many times quicker than a decomposition of
    # the rows, and in float64 the roots keep the digits of float32.
    squares = torch.linalg.eigvalsh(exact.T @ exact if exact.shape[1] < len(exact) else exact @ exact.T)
    return exponential_entropy(squares.clamp(min=0).sqrt()).float()


def exponential_entropy(spectrum: Tensor) -> Tensor:
    """Return exp(-sum p log p) along the last dimension, p the normalized spectrum: (..., D) to (...).

    1 when one share holds all, or when every value is 0; D when all are alike.
    """
    tiny = torch.finfo(spectrum.dtype).tiny
    shares = spectrum / spectrum.sum(dim=-1, keepdim=True).clamp(min=tiny)
    entropy: Tensor = torch.special.entr(shares).sum(dim=-1)
    return entropy.exp()


def feature_std(embeddings: Tensor) -> Tensor:
    """Return the standard deviation of unit embeddings' coordinates, averaged over coordinates.

    Args:
        embeddings: (N, D), normalized here.

    Returns:
        () float32. 0 at collapse; 1 / sqrt(D) when spread evenly, which is the most there can be.

    Source: Chen & He 2021, "Exploring simple Siamese representation learning", arXiv:2011.10566, Sec. 4.1.
    Differences: none.
    """
    return _unit(embeddings).std(dim=0, correction=0).mean()


def _unit(embeddings: Tensor) -> Tensor:
    return F.normalize(embeddings.float(), dim=1)
