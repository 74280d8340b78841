"""ResNet-18 from torchvision."""

from torchvision.models import resnet18

from cl_core.encoders._torchvision import TorchvisionResNet
from cl_core.registry import ENCODERS


@ENCODERS.register("resnet18")
class ResNet18(TorchvisionResNet):
    """512 features; 1.8 GMAC at 224 pixels, 11.2 M parameters.

    Source: He et al. 2016, "Deep residual learning for image recognition", arXiv:1512.03385, Table 1. Differences:
    under 64 pixels the stem of SimCLR for small images (arXiv:2002.05709, App. B.9).
    """

    network = staticmethod(resnet18)
