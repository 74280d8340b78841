"""The ResNets: shapes, stems, sizes and costs as published, and torchvision's outputs from torchvision's weights."""

import re

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from cl_core.encoders import EncoderOptions
from cl_core.encoders.resnet18 import ResNet18
from cl_core.encoders.resnet50 import ResNet50
from cl_core.encoders.resnet_small import ResNetSmall
from cl_core.errors import SpecError

RESNETS = [(ResNet18, torchvision.models.resnet18, 512), (ResNet50, torchvision.models.resnet50, 2048)]


def giga_multiplications(options: EncoderOptions, *, channels: int, size: int) -> float:
    with torch.device("meta"):
        encoder, image = options.build((channels, size, size)).eval(), torch.empty(1, channels, size, size)
    with FlopCounterMode(display=False) as counter:
        encoder(image)
    return counter.get_total_flops() / 2 / 1e9


@pytest.mark.parametrize(("options", "network", "features"), RESNETS)
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (3, 64)])
def test_views_become_features(options, network, features, channels, size):
    encoder = options().build((channels, size, size))
    assert encoder.features == features
    assert encoder(torch.rand(2, channels, size, size)).shape == (2, features)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_stem_changes_at_64_pixels(channels):
    small = ResNet18().build((channels, 63, 63)).network
    large = ResNet18().build((channels, 64, 64)).network
    assert (small.conv1.in_channels, small.conv1.kernel_size, small.conv1.stride) == (channels, (3, 3), (1, 1))
    assert (large.conv1.in_channels, large.conv1.kernel_size, large.conv1.stride) == (channels, (7, 7), (2, 2))
    assert isinstance(small.maxpool, torch.nn.Identity) and isinstance(large.maxpool, torch.nn.MaxPool2d)


# Published costs: torchvision's table of models, in multiplications and additions of 224-pixel images (1.81 and 4.09).
# The small-image stem: 0.56 and 1.30 at 32 pixels, as quoted for the CIFAR variants.
@pytest.mark.parametrize(
    ("options", "size", "giga"),
    [(ResNet18, 224, 1.81), (ResNet50, 224, 4.09), (ResNet18, 32, 0.56), (ResNet50, 32, 1.30)],
)
def test_the_cost_is_the_published_one(options, size, giga):
    assert giga_multiplications(options(), channels=3, size=size) == pytest.approx(giga, abs=0.01)


@pytest.mark.parametrize(("options", "network", "features"), RESNETS)
def test_there_are_as_many_parameters_as_published_less_the_classifier(options, network, features):
    """11,689,512 for ResNet-18 and 25,557,032 for ResNet-50, with 1,000 classes."""
    published = {512: 11_689_512, 2048: 25_557_032}[features]
    parameters = sum(p.numel() for p in options().build((3, 224, 224)).parameters())
    assert parameters == published - 1000 * (features + 1)


@pytest.mark.parametrize(("options", "network", "features"), RESNETS)
def test_features_are_what_torchvision_feeds_its_classifier(options, network, features):
    encoder, reference = options().build((3, 64, 64)).eval(), network(weights=None).eval()
    missing = encoder.network.load_state_dict(reference.state_dict(), strict=False)
    assert missing.missing_keys == [] and missing.unexpected_keys == ["fc.weight", "fc.bias"]
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = reference(images)
        assert torch.equal(reference.fc(encoder(images)), logits)


def test_small_stems_are_initialized_like_the_usual_one():
    """Kaiming, fan out, ReLU: the deviation is sqrt(2 / (64 * 3 * 3))."""
    torch.manual_seed(0)
    weight = ResNet18().build((3, 32, 32)).network.conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert weight.mean().item() == pytest.approx(0, abs=0.005)


def test_zero_initialized_residuals_start_as_identities():
    network = ResNet18(zero_init_residual=True).build((3, 32, 32)).network.eval()
    activations = torch.rand(1, 64, 8, 8)
    assert torch.equal(network.layer1[0](activations), activations)
    assert ResNet18().build((3, 32, 32)).network.layer1[0].bn2.weight.min() == 1


def test_the_weights_are_a_function_of_torchs_generator():
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(ResNet18().build((1, 28, 28)).state_dict())
    assert all(torch.equal(first, second) for first, second in zip(*(n.values() for n in networks), strict=True))


@pytest.mark.parametrize("encoder", [ResNet18(), ResNetSmall()])
@pytest.mark.parametrize("shape", [(784,), (3, 8, 16)])
def test_views_that_are_no_square_images_are_refused_with_their_shape(encoder, shape):
    with pytest.raises(SpecError, match=rf"takes square images.*have the shape {re.escape(str(shape))}; choose"):
        encoder.build(shape)
