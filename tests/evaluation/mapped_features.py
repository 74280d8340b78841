"""A protocol on features that are mapped from files, in a process of its own: prints by how many bytes memory grew."""

import sys
import threading
from pathlib import Path

import numpy as np
import torch

from cl_core.columns import Column
from cl_core.data.column_files import mapped
from cl_core.evaluation import nearest
from cl_core.evaluation.protocols import Features, linear_probe
from cl_core.registry import EVALUATIONS

CLASSES = ["bag", "boot", "coat", "shirt"]
FEATURES = 256
_AT_ONCE = 10_000


def write_features(folder: Path, samples: int, *, seed: int) -> None:
    """Write overlapping classes in the order in which they were drawn; every tenth sample has no label."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(scale=0.1, size=(len(CLASSES), FEATURES)).astype(np.float32)
    labels = generator.integers(len(CLASSES), size=samples)
    rows = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, (samples, FEATURES))
    for start in range(0, samples, _AT_ONCE):
        block = rows[start : start + _AT_ONCE]
        generator.standard_normal(out=(noise := np.empty(block.shape, np.float32)), dtype=np.float32)
        block[:] = centers[labels[start : start + _AT_ONCE]] + noise
    np.save(folder / "labels.npy", np.where(np.arange(samples) % 10, labels, -1))
    np.save(folder / "ids.npy", generator.integers(256, size=(samples, 32), dtype=np.uint8))


def features_in(folder: Path) -> Features:
    """The features as an evaluation has them."""
    rows, labels, ids = (mapped(folder / f"{name}.npy") for name in ("features", "labels", "ids"))
    return Features(Column(rows), labels, ids)


def anonymous_bytes() -> int:
    """This process's memory without the pages of files that it maps, which the system takes back when it is short."""
    return 1024 * int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0])


class Peak(threading.Thread):
    """The most memory that this process has until `stop`."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = anonymous_bytes()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.002):
            self.bytes = max(self.bytes, anonymous_bytes())

    def stop(self) -> None:
        self._over.set()
        self.join()


def main(name: str, train: Path, test: Path) -> None:
    """Warm up on a few samples, then measure."""
    torch.set_num_threads(1)
    # Blocks of 4 MiB: what they take together says nothing about many samples.
    nearest._NUMBERS = nearest._SIMILARITIES = 1 << 20
    nearest._NEIGHBORS = 1 << 17
    linear_probe._HELD = 1 << 20
    protocol, splits = EVALUATIONS.build(name, {}, field="test"), [features_in(train), features_in(test)]
    few = [split.rows(np.arange(500)) for split in splits]
    protocol(*few, classes=CLASSES, resamples=10, seed=0)
    before = anonymous_bytes()
    peak = Peak()
    peak.start()
    protocol(*splits, classes=CLASSES, resamples=10, seed=0)
    peak.stop()
    print(peak.bytes - before)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
