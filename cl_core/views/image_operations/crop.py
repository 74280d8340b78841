"""Random resized crop with flip: crop, antialiased bilinear resize and mirroring as two matrix products per sample."""

import torch
from torch import Tensor


def resized_crop(images: Tensor, *, boxes: Tensor, flip: Tensor, size: int) -> Tensor:
    """Cut a box out of each image, resize it to a square, and mirror it left to right if asked.

    Args:
        images: (B, C, H, W) float32 in [0, 1]; quickest in channels_last.
        boxes: (B, 4) int64: top, left, height, width in source pixels, inside the image.
        flip: (B,) bool.
        size: S, side of the result in pixels.

    Returns:
        (B, C, S, S) float32 in [0, 1]. A box of S x S pixels comes back unchanged.

    Source: the triangle filter of Pillow and of torchvision's `resize(..., antialias=True)`, after its `crop`: taps
    stop at the border of the box, not of the image. Differences: rows before columns, which only rounds differently.
    """
    batch, channels, height, width = images.shape
    top, left, box_height, box_width = boxes.to(images.device).unbind(1)
    vertical = _triangle_weights(top, box_height, torch.zeros_like(flip), source=height, size=size)
    horizontal = _triangle_weights(left, box_width, flip, source=width, size=size)
    # Pixels of a row beside each other, whatever their channel: one product serves all channels.
    rows = torch.bmm(vertical, images.permute(0, 2, 3, 1).reshape(batch, height, width * channels))
    planes = rows.view(batch, size, width, channels).permute(0, 3, 1, 2).reshape(batch, channels * size, width)
    return torch.bmm(planes, horizontal.transpose(1, 2)).view(batch, channels, size, size)


def _triangle_weights(start: Tensor, length: Tensor, mirrored: Tensor, *, source: int, size: int) -> Tensor:
    """Return (B, size, source) float32 weights of source pixels in output pixels; rows sum to 1."""
    scale = length.to(torch.float32)[:, None] / size
    outputs = torch.arange(size, device=start.device)
    outputs = torch.where(mirrored.to(start.device)[:, None], size - 1 - outputs, outputs)
    centers = (outputs + 0.5) * scale - 0.5
    # Enlarging interpolates between two neighbors; shrinking averages over as many pixels as fall into one.
    reach = scale.clamp(min=1)
    pixels = torch.arange(source, device=start.device) - start[:, None]
    inside = (pixels >= 0) & (pixels < length[:, None])
    # Infinitely far is weightless: this keeps taps inside the box without a further pass over the largest tensor.
    positions = torch.where(inside, pixels / reach, torch.inf)
    weights = (positions[:, None, :] - (centers / reach)[:, :, None]).abs_().clamp_(max=1).neg_().add_(1)
    return weights.div_(weights.sum(dim=2, keepdim=True))
