"""The views of a batch, made on the GPU where the images are."""

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from cl_core.columns import sent
from cl_core.views.image_operations.chain import ViewParameters
from cl_core.views.image_operations.fused.gpu_kernel import make_on_gpu
from cl_core.views.image_operations.fused.parameter_table import parameter_table


def gpu_views(
    images: Tensor, made: Iterable[tuple[ViewParameters, int]], *, mean: Sequence[float], std: Sequence[float]
) -> tuple[Tensor, ...]:
    """Make views of a batch of images.

    The host draws parameters and sends them, some hundred bytes for a view, and waits for nothing.

    Args:
        images: (B, H, W, C) uint8 on the device, with one or three channels.
        made: V parameters of B samples, and S, the side of that view in pixels.
        mean: C values in 0..1 of the channels, which are subtracted. What is cut out becomes 0.
        std: C values above 0, by which they are divided.

    Returns:
        V times (B, C, S, S) float32 on the device, in channels_last.
    """
    images, device, views = images.contiguous(), images.device, list[Tensor]()
    channels_of = sent(np.array([mean, std], np.float32), device)
    for parameters, size in made:
        whole, real = (sent(table, device) for table in parameter_table(parameters))
        views.append(make_on_gpu(images, whole, real, channels_of, size=size).permute(0, 3, 1, 2))
    return tuple(views)
