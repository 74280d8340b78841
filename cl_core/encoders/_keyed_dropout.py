"""Dropout whose masks are a function of a sample's key: the same on any worker, in any batch, and when resumed."""

import torch
from torch import Tensor, nn

_WORD = 0xFFFFFFFF
# Odd numbers: products with them modulo 2**32 are one-to-one.
_OF_KEY, _OF_LAYER, _OF_CHANNEL = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D


class KeyedDropout(nn.Module):
    """Set features to zero with a probability, and divide the others by the probability to be kept.

    The mask of a sample is a hash of its key, the layer and the channel. It is the same at all places of a sequence
    (Gal and Ghahramani 2016, arXiv:1512.05287). Nothing is dropped with key 0, nor in evaluation mode.

    Args:
        share: Probability of a feature to be dropped, 0 to below 1.
        layer: Number of this layer in its network.
    """

    def __init__(self, share: float, *, layer: int) -> None:
        super().__init__()
        self.share, self.layer = share, layer

    def forward(self, features: Tensor, keys: Tensor) -> Tensor:
        """Drop features of (N, D) or (N, T, D) float by (N,) int64 keys."""
        if not self.training or self.share == 0:
            return features
        channels = torch.arange(features.shape[-1], device=features.device)
        kept = dropout_hash(keys[:, None], self.layer, channels) >= self.share * 2**32
        scale = (
            torch.where(kept | (keys == 0)[:, None], 1.0, 0.0) / torch.where(keys == 0, 1.0, 1 - self.share)[:, None]
        )
        scale = scale.to(features.dtype)
        return features * (scale if features.dim() == 2 else scale[:, None])


def dropout_hash(keys: Tensor, layer: int, channels: Tensor) -> Tensor:
    """Return uniform numbers of 32 bits, int64, for keys of at most 32 bits and channels, which are broadcast.

    Source: the finalizer of MurmurHash3 by Austin Appleby, 32 bits, applied once for the key and once for the rest.
    """
    mixed = _mixed(keys * _OF_KEY + layer * _OF_LAYER & _WORD)
    return _mixed(mixed + channels * _OF_CHANNEL & _WORD)


def _mixed(word: Tensor) -> Tensor:
    word = word ^ word >> 16
    word = word * 0x85EBCA6B & _WORD
    word = word ^ word >> 13
    word = word * 0xC2B2AE35 & _WORD
    return word ^ word >> 16
