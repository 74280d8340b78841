"""A data set larger than the memory is trained on, with the same bits as with plenty."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_training import job_at

from cl_core.data.cache import build_cache
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.specs import ComputeSpec, DataSpec
from cl_core.training.job import TrainingJob

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(2400)]

LIMIT_BYTES = 2 << 30
# 20,000 images of 192 KiB: 3.9 GB.
DATA = DataSpec(
    name="large", source="synthetic", source_options={"count": 22_500, "size": 16, "channels": 3}, image_size=256
)
# The images as they are, and an encoder that costs little: what is tested is how they come to it.
CHEAP = {
    "views": "dacl_mixup",
    "views_options": {"without": ["mixup"]},
    "encoder": "mlp",
    "encoder_options": {"hidden": 8, "features": 8},
    "batch_size": 64,
    "epochs": 1,
    "warmup_epochs": 0,
}
PROGRAM = "import sys; from small_training import train_from_json; train_from_json(open(sys.argv[1]).read())"


@pytest.fixture
def limited() -> Iterator[Path]:
    """A group of processes that may have 2 GiB of memory together, the pages of files among it."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    root, limit = (old, "memory.limit_in_bytes") if old.exists() else (new, "memory.max")
    group = root / f"cl-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(LIMIT_BYTES))
    except OSError as error:
        pytest.skip(f"a memory cgroup cannot be made here: {error}")
    yield group
    group.rmdir()


def trained(job: TrainingJob, *, group: Path | None = None) -> str:
    """The sha256 of the weights of a training, in a process of its own."""
    file = job.folder / "job.json"
    file.write_text(job.model_dump_json())
    enter = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"] if group else []
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [*enter, sys.executable, "-c", PROGRAM, str(file)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    checkpoint = job.checkpoints.latest()
    assert checkpoint is not None
    return hashlib.sha256((checkpoint / "method.safetensors").read_bytes()).hexdigest()


def forget_pages(folder: Path) -> None:
    """Have the system read files from the disk again: pages belong to the group of the process that read them first."""
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def times_at_the_limit(group: Path) -> int:
    """How often the processes of a group had to give memory back."""
    if (counter := group / "memory.failcnt").exists():
        return int(counter.read_text())
    return int(dict(line.split() for line in (group / "memory.events").read_text().splitlines())["max"])


def test_a_cache_of_twice_the_memory_gives_the_same_weights(tmp_path: Path, limited: Path) -> None:
    snapshot = ingest_source(DATA, datasets=tmp_path / "datasets").snapshot
    cache = build_cache(snapshot, DATA.built_modality, caches=tmp_path / "caches")
    assert (cache / "train.image.npy").stat().st_size > 1.8 * LIMIT_BYTES
    weights = []
    forget_pages(cache)
    for name, group in (("little", limited), ("plenty", None)):
        (tmp_path / name).mkdir()
        compute = ComputeSpec(threads=1, checkpoint_every_s=3600, report_every_s=3600)
        job = job_at(snapshot, cache, tmp_path / name, compute=compute, **CHEAP)
        weights.append(trained(job.model_copy(update={"data": DATA}), group=group))
    assert weights[0] == weights[1]
    assert times_at_the_limit(limited) > 0
