"""Cases of the fault sweep: a retraining that takes a second and passes the gate, and where it is killed."""

import random
from dataclasses import dataclass
from typing import Any

from chaos.failpoints import POINTS

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
"""Parameters of `retrain` without the model's name. Labels let a tiny encoder beat raw pixels within a second."""

# A place that a run reaches many times is tried at its first visit and at these.
_LATER_VISITS: dict[str, tuple[int, ...]] = {
    "cache.split-written": (2,),
    "pretrain.step-taken": (20,),
    "pretrain.step-logged": (20,),
    "pretrain.checkpoint-half-written": (20,),
    "pretrain.checkpoint-kept": (64,),
    # Artifacts come in this order: the snapshot, the cache, checkpoints, then features and scores.
    "artifact_dir.staged": (2, 20),
    "artifact_dir.sealed": (3, 20),
    "artifact_dir.renamed": (2, 20),
    "artifact_dir.text-staged": (2, 4),
}

PLACES: tuple[str, ...] = tuple(
    place for name in POINTS for place in (name, *(f"{name}:{visit}" for visit in _LATER_VISITS.get(name, ())))
)
"""Every failpoint, and later visits of those that are reached often, as `CL_FAILPOINTS` takes them."""

WORK_POOL = "chaos"


@dataclass(frozen=True)
class Case:
    """One run, and what happens to it.

    Args:
        title: Shown in the table.
        name: Name of the run, its model and its home.
        failpoints: Value of `CL_FAILPOINTS`.
        kill_after_s: Seconds of work after which the process is killed; 0 leaves that to the failpoints.
    """

    title: str
    name: str
    failpoints: str = ""
    kill_after_s: float = 0


def cases(places: list[str], kills: int, seed: int, *, seconds: float) -> list[Case]:
    """Return a case for each place, then kills at random times.

    Args:
        places: As in `PLACES`.
        kills: Number of kills at random times.
        seed: Decides the times.
        seconds: Duration of an uninterrupted run, within which the kills fall.
    """
    generator = random.Random(seed)
    at_places = [
        Case(place, f"chaos-{place.replace('.', '-').replace(':', '-').replace('_', '-')}", failpoints=f"{place}=kill")
        for place in places
    ]
    times = [generator.uniform(0.01, max(seconds, 0.02)) for _ in range(kills)]
    at_random = [
        Case(f"after {second:.2f} s", f"chaos-random-{number}", kill_after_s=second)
        for number, second in enumerate(times, start=1)
    ]
    return [*at_places, *at_random]
