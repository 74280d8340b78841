"""The views of a batch, made by the kernel in as many threads as torch has."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cl_core.views.image_operations.chain import ViewParameters
from cl_core.views.image_operations.fused.memory import Spare, float32_array
from cl_core.views.image_operations.fused.parameter_table import parameter_table
from cl_core.views.image_operations.fused.view_kernel import view_kernel

# So many parts for each thread: few enough to cost nothing, and enough that no thread waits long for another.
_PARTS = 4


def fused_views(
    images: Tensor,
    made: Iterable[tuple[ViewParameters, int]],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    spare: Spare,
) -> tuple[Tensor, ...]:
    """Make views of a batch of images; which thread makes a view does not change a bit of it.

    Args:
        images: (B, H, W, C) uint8 on the CPU, with one or three channels.
        made: V parameters of B samples, and S, the side of that view in pixels. One thread draws the next ones while
            others make views.
        mean: C values in 0..1 of the channels, which are subtracted. What is cut out becomes 0.
        std: C values above 0, by which they are divided.
        spare: Memory of earlier views that are gone.

    Returns:
        V times (B, C, S, S) float32, in channels_last.
    """
    pixels = np.require(images.numpy(), requirements=["C", "W"])
    of_mean, of_std = np.array(mean, np.float32), np.array(std, np.float32)
    count, channels = len(pixels), pixels.shape[3]
    assert channels in (1, 3) and len(of_mean) == len(of_std) == channels, (pixels.shape, mean, std)
    threads, views, make = torch.get_num_threads(), list[NDArray[np.float32]](), view_kernel()
    share = max(1, -(-count // (_PARTS * threads)))

    def parts() -> Iterator[Callable[[], None]]:
        for parameters, size in made:
            views.append(float32_array((count, size, size, channels), spare))
            table = parameter_table(parameters)
            for start in range(0, count, share):
                yield partial(make, pixels, start, min(start + share, count), *table, of_mean, of_std, views[-1])

    _in_threads(parts(), threads)
    return tuple(torch.from_numpy(view).permute(0, 3, 1, 2) for view in views)


def _in_threads(parts: Iterator[Callable[[], None]], threads: int) -> None:
    """Call all parts, in this thread and others, which end before this returns.

    They are started for each batch: threads that wait for the next one would not survive a fork.
    """
    one_at_a_time, errors = threading.Lock(), list[BaseException]()

    def take() -> None:
        try:
            while not errors:
                with one_at_a_time:
                    part = next(parts, None)
                if part is None:
                    return
                part()
        except BaseException as error:
            errors.append(error)

    others = [threading.Thread(target=take, daemon=True) for _ in range(threads - 1)]
    for thread in others:
        thread.start()
    take()
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]
