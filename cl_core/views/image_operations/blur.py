"""Gaussian blur: separable, hence two matrix products per sample, each with that sample's own standard deviation."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def gaussian_blur(images: Tensor, sigmas: Tensor) -> Tensor:
    """Blur each image, mirroring it at its borders (without repeating the outermost pixel).

    Args:
        images: (B, C, S, S) float32, S at least 2.
        sigmas: (B,) standard deviations in pixels, above 0.

    Returns:
        (B, C, S, S) float32. A flat image is left as it is.

    Source: Chen et al. 2020, "SimCLR", arXiv:2002.05709, App. A: the kernel's side is 10 % of the image's. As in
    torchvision's `gaussian_blur`, the Gaussian is sampled at whole pixels and renormalized. Differences: none.
    """
    batch, channels, size, _ = images.shape
    matrices = _blur_matrices(sigmas.to(images), size)
    rows = torch.bmm(images.reshape(batch, channels * size, size), matrices.transpose(1, 2))
    return torch.matmul(matrices[:, None], rows.view(batch, channels, size, size))


def kernel_radius(size: int) -> int:
    """Return the blur's radius for images of `size` pixels: 5 % of them, at least one."""
    return max(1, size // 20)


def _blur_matrices(sigmas: Tensor, size: int) -> Tensor:
    """Return (B, size, size) matrices that blur a line of pixels, borders included; rows sum to 1."""
    radius = kernel_radius(size)
    offsets = torch.arange(-radius, radius + 1, device=sigmas.device)
    taps = torch.softmax(-0.5 * (offsets / sigmas[:, None]) ** 2, dim=1)
    sources = (offsets[:, None] + torch.arange(size, device=sigmas.device)).abs()
    sources = size - 1 - (size - 1 - sources).abs()
    reads = one_hot(sources, size).to(sigmas.dtype)  # (taps, size, size): tap t of output o reads pixel j
    return (taps @ reads.flatten(1)).view(-1, size, size)
