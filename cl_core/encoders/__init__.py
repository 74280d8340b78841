"""Encoders: the networks that are trained, evaluated and registered. One file each."""

from abc import abstractmethod

from torch import Tensor, nn

from cl_core.registry import Component


class Encoder(nn.Module):
    """A network from a view to features.

    Args:
        network: Maps (B, C, S, S) float to (B, features) float.
        features: Width of its output.
    """

    def __init__(self, network: nn.Module, features: int) -> None:
        super().__init__()
        self.network = network
        self.features = features

    def forward(self, views: Tensor) -> Tensor:
        """Map (B, C, S, S) normalized float to (B, features) float."""
        features: Tensor = self.network(views)
        return features


class EncoderOptions(Component):
    """Options of an encoder; `build` makes one with weights drawn from torch's global generator."""

    @abstractmethod
    def build(self, *, channels: int, size: int) -> Encoder:
        """Build a fresh encoder for images of `channels` and side `size` pixels."""
