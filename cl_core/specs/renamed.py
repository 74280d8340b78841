"""Old words that stored specs, tags and manifests may still hold, and what they are called now.

This is the one module that knows them. What a person asks for in an old word works for one release, with a warning.
"""

import warnings
from typing import Any

TRAINING_VALUES = {"published": "paper"}
"""Values of `training.loss` and `training.views`."""

SOURCE_OPTIONS = {"image_folder": {"labels": "label_from", "splits": "split_from"}}
"""Options of sources, whose value `from_folder` is `folder`."""

RUN_LOG = {"said": "message", "sentence": "message", "made": "result", "stood": "cached"}
"""Keys and outcomes in the run logs of version 0.1.0."""


def current_log_line(line: dict[str, Any]) -> dict[str, Any]:
    """Return a line of a run log under the present names of its keys, its event and its outcome."""
    current = {RUN_LOG.get(key, key): value for key, value in line.items()}
    return current | {key: RUN_LOG.get(current[key], current[key]) for key in current.keys() & {"event", "outcome"}}


def current_value(field: str, value: str) -> str:
    """Return the present name of a value of the training spec; warn with the field's path where it is an old one."""
    current = TRAINING_VALUES.get(value)
    if current is None:
        return value
    warnings.warn(f"{field}: {value!r} is now {current!r}; use {current!r} instead", FutureWarning, stacklevel=2)
    return current


def current_options(source: str, options: Any) -> Any:
    """Return a source's options under their present names; warn of each old one."""
    if not isinstance(options, dict):
        return options
    current = dict(options)
    for old, new in SOURCE_OPTIONS[source].items():
        if old in current and new not in current:
            value = current.pop(old)
            current[new] = "folder" if value == "from_folder" else value
            warning = f"data.source_options.{old} of {source} is now {new!r}; use {{{new!r}: {current[new]!r}}} instead"
            warnings.warn(warning, FutureWarning, stacklevel=2)
    return current
