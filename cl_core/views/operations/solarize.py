"""Solarize: bright values are inverted, as on an overexposed film."""

import torch
from torch import Tensor

from cl_core.views.operations.subset import per_image


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert all values of at least the threshold.

    Args:
        images: (B, C, H, W) float32 in [0, 1].
        thresholds: (B,), 0 to 1; at 0 the whole image is inverted.

    Returns:
        (B, C, H, W) float32 in [0, 1]: x below the threshold, 1 - x from there on.

    Source: Grill et al. 2020, "Bootstrap your own latent", arXiv:2006.07733, App. B, at threshold 0.5; torchvision's
    `solarize`. Differences: none.
    """
    return torch.where(images >= per_image(thresholds, images), 1 - images, images)
