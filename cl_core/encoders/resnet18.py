"""ResNet-18 from torchvision."""

from pydantic import Field
from torchvision.models import resnet18

from cl_core.encoders import Encoder, EncoderOptions
from cl_core.encoders._torchvision import without_classifier
from cl_core.registry import ENCODERS


@ENCODERS.register("resnet18")
class ResNet18(EncoderOptions):
    """512 features; 1.8 GMAC at 224 pixels, 11.2 M parameters.

    Source: He et al. 2016, "Deep residual learning for image recognition", arXiv:1512.03385, Table 1. Differences:
    under 64 pixels the stem of SimCLR for small images (arXiv:2002.05709, App. B.9).
    """

    zero_init_residual: bool = Field(False, title="Zero-initialized residuals")
    """Start every residual branch at zero, so that a block is the identity at first (arXiv:1706.02677)."""

    def build(self, *, channels: int, size: int) -> Encoder:
        """Build a fresh encoder for images of `channels` and side `size` pixels."""
        return without_classifier(resnet18, channels=channels, size=size, zero_init_residual=self.zero_init_residual)
