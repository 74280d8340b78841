"""Whether a method and its encoder can take the views of images of a size: tried before anything is read."""

import numpy as np
import torch
from torch import Tensor

from cl_core.errors import SpecError
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble
from cl_core.views import ImageViews, Normalization

_CHANNELS = 3  # Of the image that is tried; no part minds how many there are.


def check_image_size(training: TrainingSpec, *, image_size: int) -> None:
    """Refuse views that cannot be embedded: tried on one black image.

    Args:
        training: What is asked for.
        image_size: Side of the images, in pixels.

    Raises:
        SpecError: When the encoder has too many stages for the smallest views, or views of several sizes come to an
            encoder or a method that takes one size only.
    """
    parts = assemble(training)
    views = _views_of_a_black_image(parts.views, image_size)
    sides = sorted({view.shape[-1] for view in views})
    for side in sides:
        with torch.device("meta"):
            parts.encoder.build(channels=_CHANNELS, size=side)
    method = parts.method.build(parts.encoder.build(channels=_CHANNELS, size=image_size), parts.loss).eval()
    try:
        with torch.no_grad():
            method.embed(views)
    except RuntimeError as error:
        raise SpecError(
            f"training.views: method {training.method!r} with encoder {training.encoder!r} cannot take views of "
            f"{' and '.join(map(str, sides))} pixels, made of images of {image_size} ({error}); choose other views, "
            "or a method and an encoder that take several sizes"
        ) from error


def _views_of_a_black_image(views: ImageViews, size: int) -> tuple[Tensor, ...]:
    image = torch.zeros(1, size, size, _CHANNELS, dtype=torch.uint8)
    partners = views.count * views.partners
    return views(
        image,
        sample_ids=np.zeros(1, np.uint64),
        seed=0,
        epoch=0,
        size=size,
        normalization=Normalization((0.5,) * _CHANNELS, (0.5,) * _CHANNELS),
        partners=image.expand(partners, *image.shape) if partners else None,
    )
