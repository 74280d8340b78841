"""Noise keys of views of texts: what encoders with dropout draw their masks from."""

import numpy as np
import torch
from torch import Tensor

from cl_core.rng import SampleRng


def with_noise_keys(views: Tensor, rng: SampleRng, *, stream: int) -> Tensor:
    """Set the noise key of each view, in place 0, to the first number of a stream: above 0 and at most 1.

    A number is a multiple of 2**-24, so float32 holds it exactly.
    """
    keys = 1 - rng.uniforms(stream=stream, count=1)[:, 0]
    views[:, 0] = torch.from_numpy(keys.astype(np.float32)).to(views.device)
    return views
