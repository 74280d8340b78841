"""ResNet-50 from torchvision."""

from torchvision.models import resnet50

from cl_core.encoders._torchvision import TorchvisionResNet
from cl_core.registry import ENCODERS


@ENCODERS.register("resnet50")
class ResNet50(TorchvisionResNet):
    """2048 features; 4.1 GMAC at 224 pixels, 23.5 M parameters.

    Source: He et al. 2016, "Deep residual learning for image recognition", arXiv:1512.03385, Table 1. Differences:
    strides in the 3x3 convolutions (torchvision's "v1.5"); under 64 pixels the stem of SimCLR for small images
    (arXiv:2002.05709, App. B.9).
    """

    network = staticmethod(resnet50)
