"""A small training on synthetic images, as a job and as a process of its own."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import forked
import gloo
import pytest
from built_once import built_once

from cl_core.data.cache import build_cache
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.modalities.image import Images
from cl_core.refs import SnapshotRef
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec
from cl_core.training.components import assemble, training_digest
from cl_core.training.job import TrainingJob

DATA = DataSpec(
    name="shapes", source="synthetic", source_options={"count": 320, "classes": 4, "size": 16}, image_size=16
)
SMALL = TrainingSpec(
    encoder="resnet_small",
    encoder_options={"stem_width": 8, "width": 8, "stages": 1},
    method_options={"projector_hidden": 16, "projector_features": 8},
    epochs=3,
    batch_size=32,
    precision="fp32",
    views_backend="torch",  # In float64, too; the kernel computes in float32.
    held_out_share=0,
)

JobOf = Callable[..., TrainingJob]


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> SnapshotRef:
    def build(folder: Path) -> None:
        (folder / "snapshot.json").write_text(ingest_source(DATA, datasets=folder).snapshot.model_dump_json())

    home = built_once(tmp_path_factory, "datasets", build)
    return SnapshotRef.model_validate_json((home / "snapshot.json").read_text())


@pytest.fixture(scope="session")
def cache(snapshot: SnapshotRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = built_once(tmp_path_factory, "caches", lambda folder: build_cache(snapshot, Images(size=16), caches=folder))
    return build_cache(snapshot, Images(size=16), caches=home)


def job_at(
    snapshot: SnapshotRef, cache: Path, home: Path, *, compute: ComputeSpec | None = None, **changes: object
) -> TrainingJob:
    """The small training, with its checkpoints in `home`; changes are fields of its spec."""
    parts = assemble(TrainingSpec.model_validate({**SMALL.model_dump(), **changes}))
    return TrainingJob(
        digest=training_digest(parts, snapshot_digest=snapshot.digest, modality=DATA.built_modality),
        snapshot=snapshot,
        data=DATA,
        parts=parts,
        compute=compute or ComputeSpec(threads=1, checkpoint_every_s=1e-9, report_every_s=0),
        cache=cache,
        folder=home,
    )


@pytest.fixture
def job_of(snapshot: SnapshotRef, cache: Path, tmp_path: Path) -> JobOf:
    """A function that makes a job; `folder` is where it keeps its checkpoints, the rest is as of `job_at`."""

    def make(folder: str = "run", *, compute: ComputeSpec | None = None, **changes: object) -> TrainingJob:
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        return job_at(snapshot, cache, home, compute=compute, **changes)

    return make


def train_in_a_process(job: TrainingJob, prelude: str = "") -> forked.Program:
    """Start a training in a process of its own, after some lines of Python that may sabotage it."""
    return forked.Program(train_from_json, job.model_dump_json(), prelude, environment=os.environ)


def train_from_json(job: str, prelude: str = "") -> None:
    """Train here and now: what such a process does."""
    from cl_core.training.loop import train

    exec(prelude, {})
    train(TrainingJob.model_validate_json(job))


def train_as_one_of(workers: int, rank: int, job: str) -> None:
    """Train as a worker of a group that Ray did not start; such a process does nothing else."""
    from cl_core.training.loop import train

    wanted = TrainingJob.model_validate_json(job)
    with gloo.process_group(rendezvous=wanted.folder / "rendezvous", rank=rank, world_size=workers):
        train(wanted)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one mebibyte."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]).returncode:
        pytest.skip("a small disk needs root: sudo make test")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
