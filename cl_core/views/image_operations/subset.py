"""Apply an operation only to those samples of a batch for which it was drawn."""

from collections.abc import Callable

from torch import Tensor


def apply_where_(drawn: Tensor, operation: Callable[..., Tensor], images: Tensor, *parameters: Tensor) -> None:
    """Replace the drawn images, in place, by the operation's result.

    Args:
        drawn: (B,) bool. Best on the host: counting them then does not wait for the accelerator.
        operation: Maps (n, C, H, W) and parameters of n samples to (n, C, H, W).
        images: (B, C, H, W), changed in place.
        parameters: (B, ...) each, on the device of `drawn`; the operation is given the drawn samples' rows.
    """
    rows = drawn.nonzero().squeeze(1)
    if len(rows) == 0:
        return
    places = rows.to(images.device)
    changed = operation(images.index_select(0, places), *(values[rows] for values in parameters))
    images.index_copy_(0, places, changed)


def per_image(values: Tensor, images: Tensor) -> Tensor:
    """Return (B,) values as (B, 1, 1, 1) of the images' type and device, to broadcast over pixels."""
    return values.to(images).view(-1, 1, 1, 1)
