"""What the tests of view policies share: batches of images, and their views."""

import numpy as np
import torch

from cl_core.columns import Column, Columns, SamplePool
from cl_core.modalities._image_processor import ImageProcessor
from cl_core.registry import VIEWS
from cl_core.rng import SampleRng, uniforms
from cl_core.views import ImageViews
from cl_core.views._chain_views import DRAWS, ChainViews
from cl_core.views.image_operations.chain import ViewParameters

POLICIES = [name for name in VIEWS.names() if {"image"} >= set(VIEWS.get(name, field="views").modalities)]
# Options of a chain with which every operation is drawn for some samples.
ALL_ON = {
    "brightness": 0.8,
    "contrast": 0.8,
    "saturation": 0.8,
    "hue": 0.3,
    "rotation_probability": 0.5,
    "tilt_degrees": 30.0,
    "solarize_probability": 0.5,
    "cutout_probability": 0.5,
}
CHAINS = sorted(set(POLICIES) - {"dacl_mixup"})


def policy_of(name: str, **options) -> ImageViews:
    return VIEWS.build(name, options, field="training.views")


def random_images(count: int, channels: int, height: int = 24, width: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    return torch.randint(0, 256, (count, height, width, channels), dtype=torch.uint8, generator=generator)


def make(policy, images, ids, *, seed=7, epoch=0, size=24, mean=0.0, std=1.0, split=None):
    """Views of a batch; a policy that mixes finds its partners in the split, by default the images themselves."""
    channels, split = images.shape[-1], images if split is None else split
    return policy(
        (images,),
        rng=SampleRng(seed, epoch, np.asarray(ids, dtype=np.uint64)),
        processor=ImageProcessor((mean,) * channels, (std,) * channels, size),
        pool=SamplePool(Columns({"image": Column(split.numpy())})),
    )


def parameters_of(policy: ChainViews, ids: np.ndarray, *, seed=0, epoch=0, view=0, size=28) -> ViewParameters:
    draws = uniforms(seed=seed, epoch=epoch, sample_ids=ids.astype(np.uint64), stream=view, count=DRAWS)
    return policy.parameters(draws, view=view, height=28, width=28, size=size)
