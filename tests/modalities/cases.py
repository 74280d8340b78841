"""Every modality, also one that another distribution brings, with payloads good and bad."""

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from cl_core.data.sources import RawSample, Source, SourceEntry
from cl_core.modalities import joined

PLUGIN = Path(__file__).with_name("plugin")
NAMES = ["beads", "image", "image_text", "necklace", "text", "text_pair", "vector"]
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


def necklace() -> Case:
    """Two columns. Some training samples have the beads of another one, and another clasp."""
    rng = np.random.default_rng(3)
    strings = [(string, label) for string, label in beads().samples[:200]]
    strings += strings[100:140]
    clasps = rng.normal(size=(240, 3)).astype("<f4")
    clasps[:, 0] += [3 * (label == CLASSES[0]) for _, label in strings]
    payloads = [
        (joined((clasp.tobytes(), string)), label) for clasp, (string, label) in zip(clasps, strings, strict=True)
    ]
    clasp, nan = bytes(12), np.array([0, np.nan, 0], "<f4").tobytes()
    parts = [
        (b"", b"a"),
        (clasp[:8], b"a"),
        (nan, b"a"),
        (clasp, b""),
        (clasp, b"a b"),
        (clasp, b"a" * 13),
        (b"a", clasp),
    ]
    lengths = [(13).to_bytes(8, "little") + clasp, bytes([255] * 8) + clasp + b"a", bytes(8)]
    hostile = [b"", b"\0" * 7, *lengths, *map(joined, parts)]
    return Case("necklace", {"modality": "necklace"}, payloads, joined((clasp, b"a")), hostile, {"views": "dacl_mixup"})


WORDS = (
    ["river", "lake", "ocean", "wave", "boat", "fish", "shore", "tide", "sand", "island", "storm", "anchor"],
    ["engine", "wheel", "brake", "piston", "clutch", "garage", "tire", "fuel", "pedal", "mirror", "valve", "gear"],
)


def text() -> Case:
    """Sentences about water or cars, between words that say nothing."""
    rng = np.random.default_rng(4)
    filler = ["the", "a", "of", "and", "Über", "世界", "is", "not"]
    texts = dict[str, str]()
    for number in range(300):
        words = [*rng.choice(WORDS[number % 2], 4), *rng.choice(filler, int(rng.integers(1, 4)))]
        texts[" ".join(rng.permutation(words))] = CLASSES[number % 2]
    payloads = [(sentence.encode(), label) for sentence, label in texts.items()][:240]
    hostile = [
        *(b"", b" ", b"\n\t\r\n", "\u3000\u2028".encode(), "\u200b\ufeff".encode(), b"\x07\x1b"),
        *(b"\0", b"zero \0 byte", b"\xff\xfeh\0i\0", b"caf\xe9", b"cut \xe4\xb8", b"\xed\xa0\x80", b"\xc0\xaf"),
        b"a" * (2**20 + 1),
    ]
    training = {"views": "word_noise", "encoder": "bag", "encoder_options": {"features": 16}}
    options = {"modality": "text", "modality_options": {"length": 64, "buckets": 500}}
    return Case("text", options, payloads, b"!", hostile, training)


def text_pair() -> Case:
    """Two sentences about the same; some training pairs have the second sentence of another one."""
    alone, seconds = text(), dict[str, list[bytes]]()
    for sentence, label in alone.samples[::-1]:
        seconds.setdefault(label, []).append(sentence)
    pairs = []
    for number, (first, label) in enumerate(alone.samples):
        second = seconds[label][number // 2 if number < 200 else 100 - number // 2 + 99]
        pairs.append((joined((first, second)), label))
    hostile = [joined((one, b"a text")) for one in alone.hostile[:6]]
    hostile += [joined((b"a text", one)) for one in alone.hostile[6:-1]]
    hostile += [b"", bytes(7), (99).to_bytes(8, "little") + b"a text", alone.samples[0][0]]
    options = {**alone.options, "modality": "text_pair"}
    training = {**alone.training, "views": "both_sides"}
    return Case("text_pair", options, pairs, joined((b"!", b"?")), hostile, training)


def image_text() -> Case:
    """Dark and bright squares with sentences; some training samples have the picture, or the text, of another one."""
    pictures, texts = image().samples, text().samples
    pairs = []
    for number in range(240):
        (picture, label), (sentence, _) = pictures[number], texts[number]
        if 100 <= number < 110:
            picture = pictures[number + 20][0]
        if 110 <= number < 120:
            sentence = texts[number + 20][0]
        pairs.append((joined((picture, sentence)), label))
    whole, options = image().blank, {"size": 12, **text().options["modality_options"]}
    hostile = [joined((one, b"a text")) for one in image().hostile[:6]]
    hostile += [joined((whole, one)) for one in text().hostile[:7]]
    hostile += [b"", bytes(7), (9999).to_bytes(8, "little") + whole, whole]
    training = {
        "method": "clip",
        "method_options": {},
        "views": "side_by_side",
        "encoder": "two_towers",
        "encoder_options": {
            "image": {"name": "resnet_small", "options": {"stem_width": 8, "width": 8, "stages": 1}},
            "text": {"name": "bag", "options": {"features": 16}},
            "width": 16,
        },
    }
    return Case(
        "image_text",
        {"modality": "image_text", "modality_options": options},
        pairs,
        joined((whole, b"!")),
        hostile,
        training,
    )


MAKERS = {
    "beads": beads,
    "image": image,
    "image_text": image_text,
    "necklace": necklace,
    "text": text,
    "text_pair": text_pair,
    "vector": vector,
}


class Given(Source):
    """Samples that a test has given."""

    modalities: ClassVar[tuple[str, ...]] = ()
    payloads: ClassVar[list[tuple[bytes, str, str]]] = []

    def fingerprint(self, location: str) -> str:
        return f"{len(self.payloads)}"

    def samples(self, location: str) -> Iterator[RawSample]:
        for number, (payload, label, split) in enumerate(self.payloads):
            yield RawSample(payload, label or None, split, f"given#{number}")


class GivenByName(Given):
    """The same, listed by what they are; `opened` counts those that are read."""

    opened: ClassVar[list[str]] = []

    def listed(self, location: str) -> Iterator[SourceEntry]:
        for sample in super().samples(location):
            name = hashlib.sha256(sample.payload).digest()
            yield SourceEntry(name, "once", sample.label, sample.split, sample.origin)

    def read(self, location: str, listed: SourceEntry) -> RawSample:
        self.opened.append(listed.origin)
        by_origin = {sample.origin: sample for sample in super().samples(location)}
        return replace(by_origin[listed.origin], listed=listed)
