"""Perceptual hashes: 64 bits of an image that hardly change when it is compressed, resized or brightened.

The signs of its lowest cosine frequencies against their median (pHash).

Source: Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions". Differences: the cosine
transform is taken at the image's own size, as its lowest frequencies hardly depend on a resize to 32 pixels before.
"""

import numpy as np
from numpy.typing import NDArray

_FREQUENCIES = 8
_LEAST_CONTRAST = 2.0  # Levels of 255: below this standard deviation, signs of frequencies are noise.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def perceptual_hashes(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the perceptual hash of (N, H, W, C) uint8 images, H and W at least 8, and whether it is meaningful.

    Returns:
        (N,) uint64, and (N,) bool: False for images of one color, whose hash would be noise.
    """
    gray = images[..., 0].astype(np.float32) if images.shape[3] == 1 else images @ _LUMA
    down, across = _cosines(gray.shape[1]), _cosines(gray.shape[2])
    spectrum = (down @ gray @ across.T).reshape(len(images), -1)
    bits = spectrum > np.median(spectrum, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64), gray.std(axis=(1, 2)) >= _LEAST_CONTRAST


def _cosines(size: int) -> NDArray[np.float32]:
    """Return (8, size) float32: the lowest frequencies of the cosine transform, DCT-II."""
    angles = np.pi * np.outer(np.arange(_FREQUENCIES), np.arange(size) + 0.5) / size
    return np.cos(angles).astype(np.float32)
