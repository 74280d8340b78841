"""torchvision's ResNets as encoders: torchvision's code, with a stem that suits the image and no classifier."""

from collections.abc import Callable

from torch import nn
from torchvision.models import ResNet

from cl_core.encoders import Encoder

SMALL_IMAGE = 64  # pixels; below, the usual stem would leave less than 16 x 16 pixels to the first block


def without_classifier(
    network: Callable[..., ResNet], *, channels: int, size: int, zero_init_residual: bool
) -> Encoder:
    """Build a ResNet with fresh weights that ends at its average pooling.

    Args:
        network: torchvision's builder, `torchvision.models.resnet18` say.
        channels: Of the images.
        size: Side of the images in pixels. Under 64 the stem is a 3x3 convolution of stride 1 without max-pooling.
        zero_init_residual: Whether each residual branch starts at zero.

    Source: He et al. 2016, "Deep residual learning for image recognition", arXiv:1512.03385, Table 1; the stem for
    small images: Chen et al. 2020, "SimCLR", arXiv:2002.05709, App. B.9.
    """
    resnet = network(weights=None, zero_init_residual=zero_init_residual)
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
