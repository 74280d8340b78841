"""Old words that stored specs, tags and manifests may still hold, and what they are called now.

This is the one module that knows them. What a person asks for in an old word works for one release, with a warning.
"""

import warnings

TRAINING_VALUES = {"published": "paper"}
"""Values of `training.loss` and `training.views`."""

RUN_LOG = {"said": "message", "sentence": "message", "made": "result", "stood": "cached"}
"""Keys and outcomes in the run logs of version 0.1.0."""


def current_value(field: str, value: str) -> str:
    """Return the present name of a value of the training spec; warn with the field's path where it is an old one."""
    current = TRAINING_VALUES.get(value)
    if current is None:
        return value
    warnings.warn(f"{field}: {value!r} is now {current!r}; use {current!r} instead", FutureWarning, stacklevel=2)
    return current
