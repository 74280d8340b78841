"""Two towers: an encoder for images and one for texts, with embeddings in one space."""

from functools import cached_property
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from cl_core.encoders import Encoder, EncoderOptions
from cl_core.errors import SpecError
from cl_core.modalities._processor import Processor
from cl_core.registry import ENCODERS, Nested

_FIELD = "training.encoder_options"
_SIDES = ("image", "text")


@ENCODERS.register("two_towers")
class TwoTowersOptions(EncoderOptions):
    """An encoder for each side of pairs of image and text, followed by a linear layer into a common space.

    Source: Radford et al. 2021, "Learning transferable visual models from natural language supervision",
    arXiv:2103.00020, Fig. 3. Differences: any encoders.
    """

    has_towers: ClassVar[bool] = True

    image: Nested = Nested(name="resnet_small")
    """Encoder of the images: its name, and its options."""
    text: Nested = Nested(name="bag")
    """Encoder of the texts: its name, and its options."""
    width: int = Field(128, ge=2, le=65_536, title="Common width")
    """Dimensions of the common space. Units; CLIP uses 512 and more."""

    @field_validator("image", "text")
    @classmethod
    def _completed(cls, nested: Nested, field: ValidationInfo) -> Nested:
        return ENCODERS.completed(nested, field=f"{_FIELD}.{field.field_name}")

    @cached_property
    def nested(self) -> tuple[EncoderOptions, ...]:
        """The encoders of both sides."""
        return tuple(ENCODERS.build_nested(getattr(self, side), field=f"{_FIELD}.{side}") for side in _SIDES)

    def build(self, shape: tuple[int, ...]) -> Encoder:
        """Refuse one shape, as there are two.

        Raises:
            SpecError: Always.
        """
        raise SpecError(
            f"training.encoder: two_towers takes images and texts, but the views are of the shape {shape}; choose the "
            "encoder of one of its towers, or set data.modality to 'image_text'"
        )

    def build_for(self, processor: Processor) -> Encoder:
        """Build both towers; see `EncoderOptions`."""
        encoders = (options.build_for(processor.side(side)) for side, options in enumerate(self.nested))
        towers = {name: Tower(encoder, self.width) for name, encoder in zip(_SIDES, encoders, strict=True)}
        return TwoTowers(towers, self.width)


class Tower(nn.Module):
    """An encoder and a linear layer, which has no bias.

    Args:
        encoder: Maps (B, *shape) to (B, features).
        width: Of the output.
    """

    def __init__(self, encoder: Encoder, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = nn.Linear(encoder.features, width, bias=False)

    def forward(self, views: Tensor) -> Tensor:
        """Map (B, *shape) float to (B, width) float."""
        embedded: Tensor = self.projection(self.encoder(views))
        return embedded


class TwoTowers(Encoder):
    """Two networks; `tower` gives each.

    Args:
        towers: By side, in their order.
        width: Of their output.
    """

    def __init__(self, towers: dict[str, Tower], width: int) -> None:
        super().__init__(nn.ModuleDict(towers), width)

    def tower(self, side: int) -> nn.Module:
        """Return the tower of a side."""
        return list(self.network.children())[side]
