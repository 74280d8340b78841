"""Every method, small enough to train for twenty steps on the synthetic images in a second."""

from typing import Any

from cl_core.registry import METHODS

_HEAD = {"projector_hidden": 16, "projector_features": 8}
_OPTIONS: dict[str, dict[str, Any]] = {
    "clip": {},
    "facenet": {"samples_per_class": 8, "projector_features": 8},
    # A tenth of the training split, and no multiple of the batch.
    "moco_v2": {**_HEAD, "queue_size": 25},
    "moco_v3": {**_HEAD, "predictor_hidden": 16},
    "siamese": {"projector_features": 8},
    "swav": {**_HEAD, "prototypes": 24, "queue_size": 45, "freeze_epochs": 1, "queue_start_epoch": 0},
}
NAMES = METHODS.names()


def changes(name: str) -> dict[str, Any]:
    """The fields of a training spec that make the small training one of this method, as published otherwise."""
    # Its own views are of images with texts.
    views = {"views": "simclr", "views_options": {"blur_probability": 0.0}} if name == "clip" else {}
    return {**views, "method": name, "method_options": _OPTIONS.get(name, _HEAD), "learning_rate": 2e-3}
