"""Every modality, also one that another distribution brings, with payloads good and bad."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from cl_core.data.sources import RawSample, Source

PLUGIN = Path(__file__).with_name("plugin")
NAMES = ["beads", "image", "vector"]
CLASSES = ("few", "many")


@dataclass(frozen=True)
class Case:
    """A modality, and payloads of it.

    Args:
        name: Of the modality.
        options: Of its data spec.
        samples: Payload and class of 240 samples that differ.
        blank: A payload that says as little as one may.
        hostile: At least ten payloads that are rejected.
        training: What a training spec needs beside the small ones.
    """

    name: str
    options: dict[str, Any]
    samples: Sequence[tuple[bytes, str]]
    blank: bytes
    hostile: Sequence[bytes]
    training: dict[str, Any]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def image() -> Case:
    rng = np.random.default_rng(0)
    # Dark and bright squares on noise.
    pictures = []
    for number in range(240):
        pixels = rng.integers(0, 90, (12, 12), dtype=np.uint8)
        pixels[2:8, 3:9] += 0 if number % 2 else 120
        pictures.append((png(pixels), CLASSES[number % 2]))
    whole = png(np.full((12, 12), 7, np.uint8))
    bomb = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + bomb
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    hostile = [
        *(b"", b"\0", b"no image", b"\x89PNG\r\n\x1a\n", whole[:40], whole[:-30], header, b"P6 9999999 9999999 255\n"),
        *(
            b"GIF89a",
            b"\xff\xd8\xff\xe0\x00\x10JFIF",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"RIFF\0\0\0\0WEBP",
        ),
    ]
    return Case("image", {"image_size": 12}, pictures, whole, hostile, {"views": "dacl_mixup"})


def vector_payload(values: Any) -> bytes:
    return np.asarray(values, "<f4").tobytes()


def vector() -> Case:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(240, 9)).astype(np.float32)
    rows[::2, :4] += 3
    rows[100, 2] = np.nan
    nan, inf = np.nan, np.inf
    hostile = [
        *(b"", b"\0", b"123", b"12345", bytes(4 * 65_537)),
        *map(vector_payload, ([nan] * 9, [inf] + [0] * 8, [0] * 8 + [-inf], [nan] * 8 + [inf], [nan])),
    ]
    blank = vector_payload([nan] * 8 + [0])
    payloads = [(vector_payload(row), CLASSES[number % 2]) for number, row in enumerate(rows)]
    return Case("vector", {"modality": "vector"}, payloads, blank, hostile, {"views": "scarf"})


def beads() -> Case:
    rng = np.random.default_rng(2)
    letters = ("abcdefgh", "mnopqrst")
    strings = {
        ("".join(rng.choice(list(letters[number % 2]), 5 + number % 7)), CLASSES[number % 2]) for number in range(300)
    }
    payloads = [(text.encode(), label) for text, label in sorted(strings)][:240]
    hostile = [b"", b"\0", b" ", b"a b", b"\xff\xfe", "äö".encode(), b"a" * 13, b"\n", b"\x7f", b"tab\there", b"a\0"]
    return Case("beads", {"modality": "beads"}, payloads, b"a", hostile, {"views": "dacl_mixup"})


MAKERS = {"beads": beads, "image": image, "vector": vector}


class Given(Source):
    """Samples that a test has given."""

    modalities: ClassVar[tuple[str, ...]] = ()
    payloads: ClassVar[list[tuple[bytes, str, str]]] = []

    def fingerprint(self, location: str) -> str:
        return location

    def samples(self, location: str) -> Iterator[RawSample]:
        for number, (payload, label, split) in enumerate(self.payloads):
            yield RawSample(payload, label or None, split, f"given#{number}")
