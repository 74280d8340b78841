"""Mixing each sample with another: noise that needs no knowledge of the kind of data.

Samples may be vectors, images or anything else of one shape. What is mixed stays the sample it was as long as its own
share is at least a half.

Source: Verma et al. 2021, "Towards domain-agnostic contrastive learning", arXiv:2011.04419, Sec. 3.
"""

from torch import Tensor


def linear_mixup(samples: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    """Return share times sample plus (1 - share) times partner.

    Args:
        samples: (B, ...) float.
        partners: (B, ...) float.
        shares: (B,) of the sample, 0 to 1; 1 leaves it as it is.
    """
    return partners.lerp(samples, _per_sample(shares, samples))


def geometric_mixup(samples: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    """Return sample ** share * partner ** (1 - share): 0 where either is 0.

    Args:
        samples: (B, ...) float, not negative.
        partners: (B, ...) float, not negative.
        shares: (B,) of the sample, above 0 and below 1.
    """
    own = _per_sample(shares, samples)
    return samples.pow(own).mul_(partners.pow(1 - own))


def binary_mixup(samples: Tensor, partners: Tensor, mask: Tensor) -> Tensor:
    """Keep the sample's own value where `mask` is true, and take the partner's elsewhere.

    Args:
        samples: (B, ...) float.
        partners: (B, ...) float.
        mask: (B, ...) bool.
    """
    return samples.where(mask.to(samples.device), partners)


def _per_sample(values: Tensor, samples: Tensor) -> Tensor:
    """Return (B,) values as (B, 1, ...) of the samples' type and device."""
    return values.to(samples).view(-1, *[1] * (samples.dim() - 1))
