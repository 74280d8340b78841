"""A model that is arithmetic, and folders of images, good and bad."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cl_core.embedding.writer import FinishedModel
from cl_core.modalities._model_input import ModelInput

SIZE = 8


def flat_unit_rows(columns: tuple[np.ndarray, ...]) -> np.ndarray:
    """Each image's pixels as one row of unit length."""
    (images,) = columns
    rows = images.reshape(len(images), math.prod(images.shape[1:])).astype(np.float32) + 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def model(embed=flat_unit_rows, *, version: int = 3, channels: int = 3) -> FinishedModel:
    return FinishedModel("shoes", version, f"{version:x}" * 64, ModelInput(shape=(SIZE, SIZE, channels)), embed)


def encoded(seed: int, width: int, height: int, mode: str = "RGB") -> bytes:
    shape = (height, width) if mode == "L" else (height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven images of two classes, gray and colored, of several sizes, one of them twice; and two that are none."""
    root = tmp_path / "pictures"
    for number, (label, width, height, mode) in enumerate(
        [
            *(("boot", 8, 8, "RGB"), ("boot", 20, 12, "RGB"), ("boot", 9, 31, "L")),
            *(("sandal", 8, 8, "L"), ("sandal", 40, 40, "RGB"), ("sandal", 16, 8, "RGB")),
        ]
    ):
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{number}.png").write_bytes(encoded(number, width, height, mode))
    (root / "sandal" / "twin.png").write_bytes(encoded(5, 16, 8, "RGB"))
    (root / "sandal" / "cut.png").write_bytes(encoded(7, 16, 16)[:200])
    (root / "boot" / "text.jpg").write_text("no image")
    return root
