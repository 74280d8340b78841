"""Encoders: the networks that are trained, evaluated and registered. One file each."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from cl_core.errors import SpecError
from cl_core.modalities._processor import Processor
from cl_core.registry import Component


class Encoder(nn.Module):
    """A network from a view to features.

    Args:
        network: Maps (B, *shape) float to (B, features) float, such as (B, C, S, S) of images.
        features: Width of its output.
    """

    def __init__(self, network: nn.Module, features: int) -> None:
        super().__init__()
        self.network = network
        self.features = features

    def forward(self, views: Tensor) -> Tensor:
        """Map (B, *shape) float, as processors and views give it, to (B, features) float."""
        features: Tensor = self.network(views)
        return features

    def tower(self, side: int) -> nn.Module:
        """Return the network for one side of pairs, (B, *shape) to (B, features); by default it is for every side."""
        del side
        return self


class EncoderOptions(Component):
    """Options of an encoder; `build` makes one with weights drawn from torch's global generator."""

    has_towers: ClassVar[bool] = False
    """Whether each side of pairs has a network of its own."""

    @abstractmethod
    def build(self, shape: tuple[int, ...]) -> Encoder:
        """Build a fresh encoder for views of one shape: (C, S, S) of images with side S, in pixels, (D,) of vectors.

        Raises:
            SpecError: When the encoder takes no such views.
        """

    def build_for(self, processor: Processor) -> Encoder:
        """Build a fresh encoder for what a processor gives; by default only the shape of its views matters.

        An encoder of ids, as those of words, finds in the processor how many there are.

        Raises:
            SpecError: When the encoder takes no such views.
        """
        if processor.is_symbolic:
            raise SpecError(
                f"training.encoder: {type(self).__name__} takes numbers, but the views hold ids of words; choose an "
                "encoder of texts, such as bag"
            )
        return self.build(processor.view_shape)


def image_shape(encoder: EncoderOptions, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return channels and side of square images; for encoders that take nothing else.

    Raises:
        SpecError: When views of that shape are no square images.
    """
    if len(shape) == 3 and shape[1] == shape[2]:
        return shape[0], shape[1]
    raise SpecError(
        f"training.encoder: {type(encoder).__name__} takes square images, (channels, side, side), but the views have "
        f"the shape {shape}; choose another encoder, such as mlp"
    )
