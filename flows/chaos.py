"""What the fault sweep does: a retraining that takes a second and passes the gate, and where it is killed."""

import random
from dataclasses import dataclass
from typing import Any

from cl_core.failpoints import POINTS

RECIPE: dict[str, Any] = {
    "data": {
        "name": "chaos",
        "source": "synthetic",
        "source_options": {"count": 400, "classes": 2, "size": 16, "noise": 0.4},
        "image_size": 16,
        "test_share": 0.3,
    },
    "training": {
        "method": "supcon",
        "method_options": {"projector_hidden": 32, "projector_features": 16},
        "views_options": {"crop_area_min": 0.6, "blur_probability": 0.0},
        "encoder": "resnet_small",
        "encoder_options": {"stem_width": 8, "width": 8, "stages": 1},
        "epochs": 8,
        "batch_size": 32,
        "learning_rate": 0.01,
        "precision": "fp32",
    },
    "evaluation": {"protocols": ["knn", "geometry"], "resamples": 100},
    "promotion": {"score": "knn_20.accuracy"},
    # A checkpoint after every step, so that at most one is repeated.
    "compute": {"threads": 1, "checkpoint_every_s": 0.001, "report_every_s": 0},
}
"""Parameters of `retrain`, but for the model's name. Labels let a tiny encoder beat raw pixels within a second."""

# Where a place is come by again and again, the middle tells more than the beginning; both are tried.
_MIDDLE = {
    "cache.split-written": 2,
    "pretrain.step-taken": 20,
    "pretrain.step-told": 20,
    "pretrain.checkpoint-half-written": 20,
    "pretrain.checkpoint-staged": 20,
    "pretrain.checkpoint-sealed": 20,
    "pretrain.checkpoint-renamed": 20,
    "pretrain.checkpoint-kept": 64,
    "evaluate.features-sealed": 2,
    "evaluate.assessment-sealed": 3,
}

PLACES: tuple[str, ...] = tuple(
    place for name in POINTS for place in (name, *([f"{name}:{_MIDDLE[name]}"] if name in _MIDDLE else []))
)
"""Every failpoint, and the middle of those that are passed often, as `CL_FAILPOINTS` takes them."""

WORK_POOL = "chaos"


@dataclass(frozen=True)
class Case:
    """One run, and what happens to it.

    Args:
        title: For people.
        name: Of the run, its model and its home.
        failpoints: As `CL_FAILPOINTS` takes them.
        kill_after_s: The process is killed so long after it began to work; 0 leaves that to the failpoints.
    """

    title: str
    name: str
    failpoints: str = ""
    kill_after_s: float = 0


def cases(places: list[str], kills: int, seed: int, *, seconds: float) -> list[Case]:
    """A case for each place, then kills at random times.

    Args:
        places: As in `PLACES`.
        kills: At random times; how many.
        seed: Decides the times.
        seconds: How long an undisturbed run works; kills fall into that time.
    """
    at = random.Random(seed)  # noqa: S311 - reproducible, not secret
    named = [
        Case(place, f"chaos-{place.replace('.', '-').replace(':', '-')}", failpoints=f"{place}=kill")
        for place in places
    ]
    moments = [at.uniform(0.01, max(seconds, 0.02)) for _ in range(kills)]
    soak = [
        Case(f"after {moment:.2f} s", f"chaos-random-{number}", kill_after_s=moment)
        for number, moment in enumerate(moments, start=1)
    ]
    return [*named, *soak]
