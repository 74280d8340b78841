"""Where the positive is a slightly other sample, distances of embeddings follow distances of samples.

Colors with "a slightly other color" as the positive, and small pictures of black and white pixels with some changed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.typing import NDArray

from cl_core.data.cache import build_cache, load_split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.evaluation import representations
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec
from cl_core.training.components import assemble, training_digest
from cl_core.training.job import TrainingJob
from cl_core.training.loop import train

TRAINING: dict[str, Any] = {
    "method": "siamese",
    "encoder": "mlp",
    "batch_size": 128,
    "learning_rate": 0.002,
    "warmup_epochs": 0.5,
    "precision": "fp32",
    "held_out_share": 0,
}
COLORS = (
    "colors",
    {},
    {
        "views": "noise",
        "views_options": {"scale": 0.3},
        "encoder_options": {"hidden": 128, "features": 32},
        "epochs": 8,
    },
)
PICTURES = (
    "binary_pictures",
    {"side": 4},
    {
        "views": "scarf",
        "views_options": {"corruption_rate": 0.25, "corrupted": "both"},
        "encoder_options": {"hidden": 256, "features": 64},
        "epochs": 8,
    },
)


def distances(
    folder: Path, source: str, source_options: dict[str, Any], training: dict[str, Any], *, pictures: int = 200
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Distances of pairs of held-out samples, and of their embeddings, by representation: trained and untrained."""
    data = DataSpec(name="given", source=source, source_options={"count": 2000, **source_options}, modality="vector")
    snapshot = ingest_source(data, datasets=folder / "datasets").snapshot
    parts = assemble(TrainingSpec.model_validate(TRAINING | training))
    job = TrainingJob(
        digest=training_digest(parts, snapshot_digest=snapshot.digest, modality=data.built_modality),
        snapshot=snapshot,
        data=data,
        parts=parts,
        compute=ComputeSpec(threads=1, checkpoint_every_s=3600),
        cache=build_cache(snapshot, data.built_modality, caches=folder / "caches"),
        folder=folder / "training",
    )
    checkpoint = train(job)
    rows = load_split(job.cache, "test").column.take(slice(pictures))
    found = {}
    for representation in (representations.trained(job, checkpoint.path), representations.untrained(job)):
        unit = torch.nn.functional.normalize(torch.from_numpy(representation.embed((rows,))), dim=1).double()
        found[representation.name] = (torch.pdist(torch.from_numpy(rows).double()).numpy(), torch.pdist(unit).numpy())
    return found


def agreement(pairs: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
    """Spearman's rank correlation."""
    return float(scipy.stats.spearmanr(*pairs).statistic)


@pytest.mark.slow_unit(reason="two trainings of a hundred steps")
@pytest.mark.parametrize(("given", "least"), [(COLORS, 0.9), (PICTURES, 0.8)], ids=["colors", "pictures"])
def test_distances_of_embeddings_follow_those_of_samples_that_were_held_out(
    given: tuple[str, dict[str, Any], dict[str, Any]], least: float, tmp_path: Path
) -> None:
    """The distance of two pictures is the root of the number of pixels in which they differ, so its order is that."""
    found = distances(tmp_path, *given)
    assert agreement(found["trained"]) > least
    assert agreement(found["trained"]) > agreement(found["untrained"]) + 0.05
