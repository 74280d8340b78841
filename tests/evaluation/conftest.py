from collections.abc import Callable

import numpy as np
import pytest

from cl_core.columns import Column
from cl_core.evaluation.protocols import Features

CLASSES = ["bag", "boot", "coat", "shirt"]

Blobs = Callable[..., Features]


@pytest.fixture
def classes() -> list[str]:
    return CLASSES


@pytest.fixture
def blobs() -> Blobs:
    """Makes a split of overlapping Gaussian classes: blobs(samples, seed) in 12 correlated dimensions."""

    def make(samples: int, seed: int) -> Features:
        centers = np.random.default_rng(0).normal(size=(len(CLASSES), 12))
        mixing = np.random.default_rng(1).normal(size=(12, 12))
        generator = np.random.default_rng(seed)
        labels = generator.integers(len(CLASSES), size=samples)
        noise = generator.normal(size=(samples, 12))
        embeddings = ((centers[labels] + 1.5 * noise) @ mixing + 3).astype(np.float32)
        ids = generator.integers(256, size=(samples, 32), dtype=np.uint8)
        for array in (embeddings, labels, ids):
            array.flags.writeable = False  # As when they lie in a file that is mapped.
        return Features(Column(embeddings), labels, ids)

    return make
