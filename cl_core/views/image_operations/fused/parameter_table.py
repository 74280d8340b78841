"""What kernels read of the parameters of views, whichever device they are for."""

import numpy as np
from numpy.typing import NDArray

from cl_core.views.image_operations.chain import ViewParameters

_NEVER = 2  # A threshold that no value reaches; kernels are compiled for finite numbers.


def parameter_table(parameters: ViewParameters) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the parameters of B views as kernels read them: (B, 15) int32 and (B, 7) float32.

    What was not drawn for a view has the value that changes nothing.
    """
    p = {name: values.numpy() for name, values in vars(parameters).items()}
    jitter = p["jitter"]
    whole = np.column_stack(
        [p["boxes"], p["flip"], p["turns"], p["order"], p["grayscale"], p["holes"] * p["cutout"][:, None]]
    )
    real = np.column_stack(
        [
            p["tilt"],
            *(np.where(jitter, p[name], 1) for name in ("brightness", "contrast", "saturation")),
            p["hue"] * jitter,
            p["sigma"] * p["blur"],
            np.where(p["solarize"], p["threshold"], _NEVER),
        ]
    )
    return np.ascontiguousarray(whole, np.int32), np.ascontiguousarray(real, np.float32)
