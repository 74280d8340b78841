"""What every step takes, in time and memory, when the data grow; `BLOCK=growth make bench`.

Color JPEG files of 96 pixels, drawn by the source `synthetic` into Parquet files, are ingested, cached, validated and
trained on for 200 steps, each step in a process of its own. `--counts 10000 100000 1000000` adds a million, whose cache
takes 27 GB. Anonymous memory is what a process holds for itself; the peak of all that is resident has pages of mapped
files too, which the system takes back when it needs them. Before numbers are printed, the counts of all steps must
agree.
"""

import argparse
import contextlib
import io
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from PIL import Image
from rounds import this_machine

from cl_core import processes
from cl_core.data.cache import build_cache, load_split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.snapshot import open_snapshot
from cl_core.data.sources import built_source
from cl_core.data.validation import validate_snapshot
from cl_core.refs import SnapshotRef
from cl_core.specs import ComputeSpec, DataSpec, TrainingSpec
from cl_core.training.components import assemble, training_digest
from cl_core.training.job import TrainingJob
from cl_core.training.loop import train

BATCH, SIZE = 16, 96
_ROWS = 20_000  # Of a Parquet file.
_EVERY_S = 0.02  # Between two looks at the memory.


class Cost(NamedTuple):
    """What one step took in its process."""

    samples: int
    seconds: float
    cpu_seconds: float
    anonymous_mib: float  # The most that was held, less what it held before the step.
    resident_mib: float  # The peak of the whole process.


def data_of(home: Path) -> DataSpec:
    return DataSpec(name="shapes", source="parquet", location=str(home / "source"), image_size=SIZE)


def draw(home: Path, count: int) -> None:
    """Store the images, as JPEG files in a column."""
    options = {"count": count, "size": SIZE, "channels": 3}
    drawn = DataSpec(name="shapes", source="synthetic", image_size=SIZE, source_options=options)
    samples = built_source(drawn, drawn.modality).samples("")
    (home / "source").mkdir()
    for number in itertools.count():
        rows = [(_as_jpeg(sample.payload), sample.label) for sample in itertools.islice(samples, _ROWS)]
        if not rows:
            return
        images, labels = zip(*rows, strict=True)
        table = pa.table({"image": pa.array(images, pa.binary()), "label": labels})
        pq.write_table(table, home / "source" / f"{number:04d}.parquet", row_group_size=1000, compression="none")


def _as_jpeg(png: bytes) -> bytes:
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    return bytes(simplejpeg.encode_jpeg(pixels, quality=90))


def ingest(home: Path, count: int, steps: int) -> int:
    snapshot = ingest_source(data_of(home), datasets=home / "datasets", workers=processes.cpu_count()).snapshot
    return sum(snapshot.rows.values())


def cache(home: Path, count: int, steps: int) -> int:
    snapshot = ingested(home)
    build_cache(snapshot, data_of(home).built_modality, caches=home / "caches", workers=processes.cpu_count())
    return sum(snapshot.rows.values())


def validate(home: Path, count: int, steps: int) -> int:
    report = validate_snapshot(ingested(home), cached(home), data_of(home))
    return report.train_samples + report.test_samples


def pretrain(home: Path, count: int, steps: int) -> int:
    """Train for so many steps, of as few epochs as have them."""
    data, threads = data_of(home), processes.cpu_count()
    rows = len(load_split(cached(home), "train"))
    epochs = -(-steps // (int(0.9 * rows) // BATCH))
    options = {"batch_size": BATCH, "epochs": epochs, "warmup_epochs": 0, "encoder": "resnet_small"}
    parts, taken = assemble(TrainingSpec.model_validate(options)), 0
    job = TrainingJob(
        digest=training_digest(parts, snapshot_digest=ingested(home).digest, modality=data.built_modality),
        snapshot=ingested(home),
        data=data,
        parts=parts,
        compute=ComputeSpec(threads=threads),
        cache=cached(home),
        folder=home / "training",
    )

    def stop() -> bool:
        nonlocal taken
        taken += 1
        return taken >= steps

    with contextlib.suppress(KeyboardInterrupt):  # That it was stopped after as many steps.
        train(job, stop_requested=stop)
    return steps * BATCH


Stage = Callable[[Path, int, int], int]
STAGES: dict[str, Stage] = {stage.__name__: stage for stage in (ingest, cache, validate, pretrain)}


def ingested(home: Path) -> SnapshotRef:
    (manifest,) = home.glob("datasets/shapes/*/manifest.json")
    return open_snapshot(manifest.parent)


def cached(home: Path) -> Path:
    (manifest,) = home.glob("caches/*/manifest.json")
    return manifest.parent


def measured(stage: Stage, home: Path, count: int, steps: int) -> Cost:
    """Run a step, with a thread beside it that looks at the memory."""
    before = most = _status_mib("RssAnon")
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(_EVERY_S):
            most = max(most, _status_mib("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began, cpu_began = time.perf_counter(), time.process_time()
    samples = stage(home, count, steps)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    done.set()
    watcher.join()
    return Cost(samples, seconds, cpu_seconds, most - before, _status_mib("VmHWM"))


def _status_mib(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def in_a_process(stage: str, home: Path, count: int, steps: int) -> Cost:
    numbers = ["--counts", str(count), "--steps", str(steps)]
    command = [sys.executable, __file__, "--stage", stage, "--home", home, *numbers]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print the table; with --stage, only what one step took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--steps", type=int, default=200, help="of the training, with 16 images each")
    parser.add_argument("--home", type=Path, help="where data are stored for a while; a temporary folder")
    parser.add_argument("--stage", choices=list(STAGES))
    parser.add_argument("--small", action="store_true", help="few samples, to see that everything runs")
    chosen = parser.parse_args()
    if chosen.stage:
        print(json.dumps(measured(STAGES[chosen.stage], chosen.home, *chosen.counts, chosen.steps)))
        return
    print(this_machine())
    print("\n| samples | step | seconds | CPU seconds | samples in a CPU second | anonymous, MiB | resident, MiB |")
    print("|---|---|---|---|---|---|---|")
    steps = 2 if chosen.small else chosen.steps
    for count in [200] if chosen.small else chosen.counts:
        with tempfile.TemporaryDirectory(dir=chosen.home) as home:
            draw(Path(home), count)
            for stage in STAGES:
                cost = in_a_process(stage, Path(home), count, steps)
                assert stage == "pretrain" or cost.samples == count, f"{stage} has seen {cost.samples} of {count}"
                rate = cost.samples / cost.cpu_seconds
                figures = f"{cost.seconds:.1f} | {cost.cpu_seconds:.1f} | {rate:,.0f}"
                memory = f"{cost.anonymous_mib:,.0f} | {cost.resident_mib:,.0f}"
                print(f"| {count:,} | {stage} | {figures} | {memory} |", flush=True)


if __name__ == "__main__":
    main()
