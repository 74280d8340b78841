"""Images made to fill the memory or to hang a decoder are judged by their headers, in little memory and time."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image, features

from cl_core.modalities import Rejected
from cl_core.modalities._image_decoding import FORMATS, MAX_PIXELS, decode

# Beside what Python, numpy and Pillow themselves take.
_ROOM_BYTES = 100 << 20
# Of an image that its header calls no larger than the limit: its pixels, and as many in the decoder.
_WITHIN_LIMIT_BYTES = 2 * 3 * MAX_PIXELS + _ROOM_BYTES
_WITHIN_LIMIT = {"packed tiff of 8,000"}


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, width: int = 8, height: int = 8, rows: bytes = bytes(8 * 9)) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + body + chunk(b"IEND", b"")


def flat_png(side: int) -> bytes:
    """A whole, valid PNG: every row of it is there, packed a thousandfold."""
    # A hundred rows, packed such that what follows may be the same again; then the checksum of so many zeros.
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    rows = packer.compress(bytes(100 * (side + 1))) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = struct.pack(">HH", side * (side + 1) % 65_521, 1)
    body = b"\x78\xda" + rows * (side // 100) + packer.flush() + checksum
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_the_large_png_is_valid_when_it_is_small() -> None:
    assert decode(flat_png(200)).shape == (200, 200, 1)


def encoded(kind: str, **settings: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, kind, **settings)
    return file.getvalue()


def jpeg(side: int) -> bytes:
    """A small JPEG whose header says that it is large."""
    small = encoded("JPEG")
    frame = small.index(b"\xff\xc0")
    return small[: frame + 5] + struct.pack(">HH", side, side) + small[frame + 9 :]


def gif(canvas: int, frame: int) -> bytes:
    """A GIF with a canvas and a first frame of these sides."""
    small = encoded("GIF")
    place = small.index(b",", 13 + 3 * 2 ** ((small[10] & 7) + 1))
    changed = bytearray(small)
    changed[6:10] = struct.pack("<HH", canvas, canvas)
    changed[place + 5 : place + 9] = struct.pack("<HH", frame, frame)
    return bytes(changed)


def webp(side: int, kind: bytes) -> bytes:
    """A WebP whose header says that it is large: a still one, or an animation's canvas."""
    if kind == b"VP8X":
        body = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + 2 * (side - 1).to_bytes(3, "little")
        return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    small = bytearray(encoded("WEBP", lossless=True))
    place = small.index(b"VP8L") + 9
    bits = int.from_bytes(small[place : place + 4], "little") >> 28 << 28
    small[place : place + 4] = (bits | (side - 1) | (side - 1) << 14).to_bytes(4, "little")
    return bytes(small)


def tiff(side: int, **settings: object) -> bytes:
    """A TIFF of 16 x 16 pixels whose fields say that it is large."""
    small = bytearray(encoded("TIFF", **settings))
    (entries,) = struct.unpack_from("<I", small, 4)
    (count,) = struct.unpack_from("<H", small, entries)
    for place in range(entries + 2, entries + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from("<HH", small, place)
        if tag in (256, 257, 278):  # Width, length, rows in a strip.
            struct.pack_into("<H" if kind == 3 else "<I", small, place + 8, side)
    return bytes(small)


def tiff_text(size: int) -> bytes:
    """A TIFF whose description is said to be longer than the file."""
    small = bytearray(encoded("TIFF", description="x" * 10))
    place = small.index(struct.pack("<HH", 270, 2))
    struct.pack_into("<I", small, place + 4, size)
    return bytes(small)


def bmp(side: int) -> bytes:
    small = bytearray(encoded("BMP"))
    struct.pack_into("<ii", small, 18, side, side)
    return bytes(small)


def avif(side: int) -> bytes:
    """An AVIF whose header says that it is large."""
    small = bytearray(encoded("AVIF"))
    place = small.index(b"ispe") + 8
    struct.pack_into(">II", small, place, side, side)
    return bytes(small)


BOMBS = {
    "png of 50,000 x 50,000, all of it there": (lambda: flat_png(50_000), {"too_large"}),
    "png header of 2 ** 31 - 1": (lambda: png(width=2**31 - 1, height=2**31 - 1), {"too_large", "damaged"}),
    "png of no width": (lambda: png(width=0), {"damaged"}),
    "text of 256 MiB": (
        lambda: png(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 28), 9))),
        {"damaged", "usable"},
    ),
    "color profile of 256 MiB": (
        lambda: png(chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(1 << 28), 9))),
        {"damaged", "usable"},
    ),
    "rows of 256 MiB for a small png": (lambda: png(rows=bytes(1 << 28)), {"damaged", "usable"}),
    "jpeg header of 65,500": (lambda: jpeg(65_500), {"too_large"}),
    "gif canvas of 65,535": (lambda: gif(65_535, 16), {"too_large"}),
    "gif frame of 65,535": (lambda: gif(16, 65_535), {"too_large", "damaged"}),
    "webp of 16,384": (lambda: webp(16_384, b"VP8L"), {"too_large", "damaged"}),
    "webp animation of 16,384": (lambda: webp(16_384, b"VP8X"), {"too_large", "damaged"}),
    "bmp of 30,000": (lambda: bmp(30_000), {"too_large"}),
    "tiff of 30,000": (lambda: tiff(30_000), {"too_large"}),
    "packed tiff of 30,000": (lambda: tiff(30_000, compression="tiff_lzw"), {"too_large"}),
    "packed tiff of 8,000": (lambda: tiff(8_000, compression="tiff_lzw"), {"damaged"}),
    "tiff with a text of 4 GiB": (lambda: tiff_text(2**32 - 1), {"damaged", "usable"}),
    "ppm header of 99,999": (lambda: b"P6\n99999 99999\n255\n" + bytes(100), {"too_large"}),
    "text ppm of 8,000": (lambda: b"P2\n8000 8000\n255\n" + b"0 " * 1_000_000, {"too_large"}),
} | ({"avif of 30,000": (lambda: avif(30_000), {"too_large", "damaged"})} if features.check("avif") else {})

# For each file a fork that decodes it and prints the verdict and how much memory that took more than before.
_PROGRAM = """
import os, resource, signal, sys
from pathlib import Path
import numpy, PIL.Image
from cl_core.modalities import Rejected
from cl_core.modalities._image_decoding import decode
PIL.Image.init()

def judge(payload):
    signal.alarm(20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        decode(payload)
        verdict = "usable"
    except Rejected as rejected:
        verdict = rejected.reason
    print(verdict, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, flush=True)

for file in sys.argv[1:]:
    if not (child := os.fork()):
        judge(Path(file).read_bytes())
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("died 0", flush=True)
"""


def judged(names: list[str], folder: Path) -> dict[str, tuple[str, int]]:
    """What each bomb is found to be, and the bytes of memory that this took."""
    files = [folder / str(number) for number in range(len(names))]
    for name, file in zip(names, files, strict=True):
        payload = BOMBS[name][0]()
        assert len(payload) < 4 << 20, "a bomb is small"
        file.write_bytes(payload)
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *files], capture_output=True, text=True, check=True)
    pairs = [line.split() for line in done.stdout.splitlines()]
    return {name: (verdict, int(taken)) for name, (verdict, taken) in zip(names, pairs, strict=True)}


# To make one of these takes a second.
LARGE = [name for name in BOMBS if "256 MiB" in name]
SMALL = [name for name in BOMBS if name not in LARGE]


@pytest.fixture(scope="module")
def small_bombs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, int]]:
    return judged(SMALL, tmp_path_factory.mktemp("bombs"))


@pytest.mark.parametrize("name", SMALL)
def test_a_bomb_is_judged_in_little_memory_and_little_time(name: str, small_bombs: dict[str, tuple[str, int]]) -> None:
    verdict, taken = small_bombs[name]
    assert verdict in BOMBS[name][1]
    assert taken < (_WITHIN_LIMIT_BYTES if name in _WITHIN_LIMIT else _ROOM_BYTES)


@pytest.mark.integration
@pytest.mark.parametrize("name", LARGE)
def test_a_bomb_of_many_bytes_is_judged_so_too(name: str, tmp_path: Path) -> None:
    verdict, taken = judged([name], tmp_path)[name]
    assert verdict in BOMBS[name][1]
    assert taken < _ROOM_BYTES


def test_of_an_animation_of_a_thousand_frames_one_is_decoded() -> None:
    frames = [Image.new("RGB", (64, 64), (number % 256, number // 256, 0)) for number in range(1000)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert decode(file.getvalue()).shape == (64, 64, 3)


@pytest.mark.parametrize("kind", FORMATS)
def test_no_part_of_an_image_is_a_whole_one(kind: str) -> None:
    """Cut at every hundredth of its length, an image of noise is rejected; no cut hangs or crashes the decoder."""
    noise = Image.effect_noise((64, 64), 80)
    file = io.BytesIO()
    noise.save(file, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    payload = file.getvalue()
    for share in range(1, 95):
        with pytest.raises(Rejected) as rejected:
            decode(payload[: len(payload) * share // 100])
        assert rejected.value.reason in ("damaged", "not_an_image")
