"""From a folder of JPEG files to a data set on the disk, beside decoding alone and other libraries.

`BLOCK=ingest make bench` writes 5,000 JPEG files of 224 pixels first, `--count` so many, unless `--folder` names where
they are already.
Each contestant reads all files, decodes every one, and stores files, labels and moments of the channels. Before
anything is timed, all must have stored the same files and labels, and found the same sums. The limit decodes files that
lie in memory already, and does nothing else. Peaks of memory are those of a process for each contestant.
"""

import argparse
import hashlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rounds import Contestant, end_if_void, ended, measure, spread, this_machine

from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.snapshot import open_snapshot, row_groups, snapshot_profile
from cl_core.modalities._plain_jpeg import fast_decoder
from cl_core.specs import DataSpec

SIZE, CLASSES, TEXTURES, QUALITY = 224, 10, 12, 90
LIMIT, LIMIT_BY_PILLOW, HERE = "decoding alone", "decoding alone, Pillow", "here"
_IN_MEMORY = 2_000  # Files that the limit decodes.


class Stored(NamedTuple):
    """What a contestant has stored."""

    files: str  # A digest of the sha256 and the label of every file.
    mean: NDArray[np.float64]  # (3,) of all pixels, in 0..1.
    std: NDArray[np.float64]  # (3,)


def write_pictures(folder: Path, count: int) -> None:
    """Write so many different JPEG files, a folder for each class, with the spectrum 1 / f of photographs."""
    rng, side = np.random.default_rng(0), 2 * SIZE
    frequency = np.fft.fftfreq(side)
    radius = np.hypot(frequency[:, None], frequency[None])
    radius[0, 0] = 1 / side
    textures = []
    for _ in range(TEXTURES):
        waves = rng.normal(size=(2, 3, side, side))
        texture = np.fft.ifft2((waves[0] + 1j * waves[1]) / radius**1.2).real
        texture = 0.8 * texture[:1] + 0.3 * texture  # Channels resemble each other.
        levels = 128 + 50 * (texture - texture.mean()) / texture.std()
        textures.append(np.clip(levels, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    for label in range(CLASSES):
        (folder / "train" / str(label)).mkdir(parents=True)
    for number in range(count):
        y, x = rng.integers(0, SIZE, 2)
        picture = Image.fromarray(textures[number % TEXTURES][y : y + SIZE, x : x + SIZE])
        path = folder / "train" / str(number % CLASSES) / f"{number:07}.jpg"
        picture.save(path, quality=QUALITY, comment=str(number))  # No two files are equal.


def paths_of(folder: Path) -> list[Path]:
    return sorted((folder / "train").rglob("*.jpg"))


# --- contestants: each stores all files of `folder` in `out`


def here(folder: Path, out: Path, *, workers: int) -> None:
    spec = DataSpec(name="pictures", source="image_folder", location=str(folder))
    ingest_source(spec, datasets=out, workers=workers)


def moments_of(image: Image.Image) -> tuple[int, NDArray[np.int64]]:
    """Return the number of pixels, and (2, 3) sums of levels and of their squares."""
    counts = np.array(image.convert("RGB").histogram(), np.int64).reshape(3, 256)
    levels = np.arange(256)
    return image.width * image.height, np.stack([counts @ levels, counts @ levels**2])


def by_datasets(folder: Path, out: Path) -> None:
    """Hugging Face datasets: its folder of images, with the bytes inside; `map` decodes."""
    from datasets import Image as ImageFeature
    from datasets import disable_progress_bars, load_dataset

    def decoded(row: dict[str, Any]) -> dict[str, Any]:
        payload = Path(row["image"]["path"]).read_bytes()
        pixels, moments = moments_of(Image.open(io.BytesIO(payload)))
        return {"payload": payload, "label": row["label"], "pixels": pixels, "moments": moments.tolist()}

    disable_progress_bars()
    places = {"data_dir": str(folder), "cache_dir": str(out / "cache")}
    rows = load_dataset("imagefolder", split="train", drop_labels=False, **places)
    rows = rows.cast_column("image", ImageFeature(decode=False))
    rows.map(decoded, remove_columns=["image"]).save_to_disk(str(out / "stored"))


def by_webdataset(folder: Path, out: Path) -> None:
    """webdataset: shards of tar files, as its documentation writes them."""
    from webdataset import ShardWriter

    out.mkdir(exist_ok=True)
    with ShardWriter(str(out / "%05d.tar"), maxcount=10_000, verbose=0) as sink:
        for number, path in enumerate(paths_of(folder)):
            payload = path.read_bytes()
            pixels, moments = moments_of(Image.open(io.BytesIO(payload)))
            facts = {"label": int(path.parent.name), "pixels": pixels, "moments": moments.tolist()}
            sink.write({"__key__": f"{number:07}", "jpg": payload, "json": json.dumps(facts).encode()})


# --- what they have stored


def stored_here(out: Path) -> Stored:
    (manifest,) = out.glob("pictures/*/manifest.json")
    profile, snapshot = snapshot_profile(manifest.parent), open_snapshot(manifest.parent)
    rows = ((row.payload, int(row.label or -1)) for group in row_groups(snapshot, "train") for row in group)
    return Stored(digest_of_files(rows), *(np.array(profile.content[name]) for name in ("mean", "std")))


def stored_by_datasets(out: Path) -> Stored:
    from datasets import load_from_disk

    rows = load_from_disk(str(out / "stored"))
    return summed([(row["payload"], row["label"], row["pixels"], row["moments"]) for row in rows])


def stored_by_webdataset(out: Path) -> Stored:
    from webdataset import WebDataset

    shards = sorted(map(str, out.glob("*.tar")))
    rows = []
    for sample in WebDataset(shards, shardshuffle=False):
        facts = json.loads(sample["json"])
        rows.append((sample["jpg"], facts["label"], facts["pixels"], facts["moments"]))
    return summed(rows)


def summed(rows: list[tuple[bytes, int, int, Any]]) -> Stored:
    pixels = sum(row[2] for row in rows)
    sums, squares = np.sum([row[3] for row in rows], axis=0).astype(np.float64)
    mean = sums / pixels / 255
    std = np.sqrt(squares / pixels / 255**2 - mean**2)
    return Stored(digest_of_files((payload, label) for payload, label, *_ in rows), mean, std)


def digest_of_files(rows: Iterator[tuple[bytes, int]]) -> str:
    entries = sorted(hashlib.sha256(payload).digest() + bytes([label]) for payload, label in rows)
    return hashlib.sha256(b"".join(entries)).hexdigest()


Store = Callable[[Path, Path], None]


def contestants(threads: int) -> dict[str, tuple[Store, Callable[[Path], Stored]]]:
    """Return those that are installed: how each stores, and how it is read back."""
    found: dict[str, tuple[Store, Callable[[Path], Stored]]] = {
        f"{HERE}, {threads} threads": (partial(here, workers=threads), stored_here),
        f"{HERE}, 1 thread": (partial(here, workers=1), stored_here),
    }
    peers = {"datasets": (by_datasets, stored_by_datasets), "webdataset": (by_webdataset, stored_by_webdataset)}
    for name, peer in peers.items():
        try:
            __import__(name)
        except ImportError as error:
            print(f"{name} is left out: {error}")
        else:
            found[name] = peer
    return found


def check(folder: Path, work: Path, threads: int) -> None:
    """Compare what all have stored: the work must be equal."""
    first: Stored | None = None
    for name, (store, read) in contestants(threads).items():
        out = work / "checked"
        store(folder, out)
        found = read(out)
        shutil.rmtree(out)
        first = first or found
        assert found.files == first.files, f"{name} has stored other files or labels"
        np.testing.assert_allclose(found.mean, first.mean, rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(found.std, first.std, rtol=1e-9, err_msg=name)
        print(f"{name}: the same files, labels and moments")


def stored_once(store: Store, folder: Path, work: Path, count: int) -> int:
    """Run a contestant once, for `rounds.measure`."""
    out = Path(tempfile.mkdtemp(dir=work))
    try:
        store(folder, out)
    finally:
        shutil.rmtree(out)
    return count


def decoded_once(decode: Callable[[bytes], object], payloads: list[bytes], threads: int) -> int:
    """Decode files that lie in memory, for the limit."""
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda part: [decode(payload) for payload in part], np.array_split(payloads, 8 * threads)):
            pass
    return len(payloads)


def by_simplejpeg(payload: bytes) -> object:
    decode = fast_decoder()
    assert decode is not None
    return decode(payload, 3)


def by_pillow(payload: bytes) -> object:
    return np.asarray(Image.open(io.BytesIO(payload), formats=["JPEG"]))


def peak_mib(name: str, folder: Path, work: Path, threads: int) -> float:
    """Return the peak memory of a process for one contestant, in MiB."""
    command = [sys.executable, __file__, "--peak", name, "--folder", folder, "--work", work, "--threads", str(threads)]
    return float(ended(command).stdout.split()[-1])


def _print_peak(name: str, folder: Path, work: Path, threads: int) -> None:
    store, _ = contestants(threads)[name]
    stored_once(store, folder, work, 0)
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def main() -> None:
    """Print the results; with --peak, only the memory of one contestant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5_000, help="files that are written")
    parser.add_argument("--folder", type=Path, help="where the files are, or are written to and stay")
    parser.add_argument("--work", type=Path, help="where data sets are stored for a while; a temporary folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak", metavar="NAME")
    parser.add_argument("--small", action="store_true", help="one round on few files, to see that everything runs")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.work) as temporary:
        work, folder = Path(temporary), chosen.folder or Path(temporary, "pictures")
        if chosen.peak:
            _print_peak(chosen.peak, folder, work, chosen.threads)
            return
        if not folder.exists():
            write_pictures(folder, 60 if chosen.small else chosen.count)
        report(folder, work, threads=chosen.threads, rounds=1 if chosen.small else chosen.rounds, small=chosen.small)


def report(folder: Path, work: Path, *, threads: int, rounds: int, small: bool) -> None:
    """Print the table."""
    paths = paths_of(folder)
    print(f"{this_machine()}; {len(paths):,} files, {sum(path.stat().st_size for path in paths) / 1e6:,.0f} MB")
    check(folder, work, threads)
    payloads = [path.read_bytes() for path in paths[:_IN_MEMORY]]
    turns = {
        LIMIT: Contestant(partial(decoded_once, by_simplejpeg, payloads, threads), 1),
        LIMIT_BY_PILLOW: Contestant(partial(decoded_once, by_pillow, payloads, threads), 1),
    } | {
        name: Contestant(partial(stored_once, store, folder, work, len(paths)), 1)
        for name, (store, _) in contestants(threads).items()
    }
    measured = measure(turns, rounds=rounds)
    print("\n| | files/s | files in a CPU second | share of the limit | the same of CPU seconds | peak, MiB |")
    print("|---|---|---|---|---|---|")
    for name in turns:
        rates, cpu_rates = measured.rates[name], measured.cpu_rates[name]
        of_cpu = [mine / its for mine, its in zip(cpu_rates, measured.cpu_rates[LIMIT], strict=True)]
        shares = (spread(ratios, "{:.2f}") for ratios in (measured.against(name, LIMIT), of_cpu))
        peak = "" if name in (LIMIT, LIMIT_BY_PILLOW) else f"{peak_mib(name, folder, work, threads):,.0f}"
        print(
            f"| {name} | {spread(rates, '{:,.0f}')} | {spread(cpu_rates, '{:,.0f}')} | {' | '.join(shares)} | {peak} |"
        )
    end_if_void(measured, small=small)


if __name__ == "__main__":
    main()
