"""Pictures for the tests of ingestion, written by Pillow."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SAMPLE = Path(__file__).with_name("data") / "fashion-mnist-sample.parquet"


# What Git leaves in place of a large file: three lines, as long as a real one.
LFS_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """A PNG of seeded noise: another number, another picture."""

    def make(number: int, *, size: int = 12, channels: int = 1) -> bytes:
        shape = (size, size, channels) if channels == 3 else (size, size)
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)).save(file, "PNG")
        return file.getvalue()

    return make


@pytest.fixture
def folder(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    """A folder of two classes, `cat` and `dog`, with 20 grayscale pictures each."""
    root = tmp_path / "pets"
    for number in range(40):
        path = root / ("cat" if number % 2 else "dog") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return root


@pytest.fixture
def sample() -> Path:
    """The committed sample of Fashion-MNIST: 2,000 training and 500 test images."""
    return SAMPLE
