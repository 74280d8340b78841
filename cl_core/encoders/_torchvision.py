"""torchvision's ResNets as encoders: torchvision's code, with a stem that suits the image and no classifier."""

from collections.abc import Callable
from typing import ClassVar

from pydantic import Field
from torch import nn
from torchvision.models import ResNet

from cl_core.encoders import Encoder, EncoderOptions, image_shape

SMALL_IMAGE = 64  # pixels; below, the usual stem would leave less than 16 x 16 pixels to the first block


class TorchvisionResNet(EncoderOptions):
    """Options of a ResNet of torchvision with fresh weights, which ends at its average pooling.

    Source: He et al. 2016, "Deep residual learning for image recognition", arXiv:1512.03385, Table 1; the stem for
    small images: Chen et al. 2020, "SimCLR", arXiv:2002.05709, App. B.9.
    """

    network: ClassVar[Callable[..., ResNet]]
    """torchvision's builder, such as `torchvision.models.resnet18`."""

    zero_init_residual: bool = Field(False, title="Zero-initialized residuals")
    """Start every residual branch at zero, so that a block is the identity at first (arXiv:1706.02677)."""

    def build(self, shape: tuple[int, ...]) -> Encoder:
        """Build a fresh encoder; under 64 pixels its stem is a 3x3 convolution of stride 1 without max-pooling."""
        channels, size = image_shape(self, shape)
        resnet = self.network(weights=None, zero_init_residual=self.zero_init_residual)
        if size < SMALL_IMAGE:
            resnet.conv1 = _stem(channels, kernel=3, stride=1)
            resnet.add_module("maxpool", nn.Identity())
        elif channels != 3:
            resnet.conv1 = _stem(channels, kernel=7, stride=2)
        features: int = resnet.fc.in_features
        resnet.add_module("fc", nn.Identity())
        return Encoder(resnet, features)


def _stem(channels: int, *, kernel: int, stride: int) -> nn.Conv2d:
    """Build the first convolution, initialized as in torchvision."""
    stem = nn.Conv2d(channels, 64, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    return stem
