"""The second ingestion of a folder and all after it: only what is new is opened, and the snapshot is the same."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cl_core import artifact_dir
from cl_core.data.ingest.pipeline import IngestResult, ingest_source
from cl_core.data.sources import Unreadable
from cl_core.data.sources.image_folder import ImageFolder
from cl_core.data.sources.synthetic import Synthetic
from cl_core.modalities._png import encode_png
from cl_core.registry import SOURCES
from cl_core.specs import DataSpec

# Ingests a folder and prints every file below it that the process opens; dies before a call of a function, if asked.
WATCHED = """
import os, signal, sys
from pathlib import Path
from cl_core import artifact_dir
from cl_core.data.ingest import incremental_index, pipeline
from cl_core.specs import DataSpec

location, home, fatal = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

def watch(event, arguments):
    if event == "open" and str(arguments[0]).startswith(f"{location}/"):
        print(arguments[0].removeprefix(f"{location}/"), flush=True)

sys.addaudithook(watch)
if fatal:
    owner, name = eval(fatal.rpartition(".")[0]), fatal.rpartition(".")[2]
    setattr(owner, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
pipeline.ingest_source(DataSpec(name="pets", source="image_folder", location=location), datasets=home)
"""


def pets(folder: Path, home: Path, *, test_share: float = 0.1, **settings: object) -> IngestResult:
    spec = DataSpec(name="pets", source="image_folder", location=str(folder), test_share=test_share)
    return ingest_source(spec, datasets=home, **settings)


def counted(ingested: IngestResult) -> str:
    return ingested.reason.partition("(")[2].partition(")")[0]


def files_of(ingested: IngestResult) -> dict[str, bytes]:
    root = ingested.snapshot.path
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def opened(folder: Path, home: Path, *, killed_before: str = "") -> list[str]:
    """The files below the folder that an ingestion in a process of its own opens."""
    command = [sys.executable, "-c", WATCHED, str(folder), str(home), killed_before]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == (-signal.SIGKILL if killed_before else 0)
    return sorted(done.stdout.splitlines())


def spoil(folder: Path, picture: Callable[..., bytes]) -> None:
    """One bad file of each kind, and a content under two labels."""
    (folder / "cat" / "text.png").write_text("this is no image")
    (folder / "cat" / "empty.png").write_bytes(b"")
    (folder / "cat" / "short.png").write_bytes(picture(98)[:-40])
    (folder / "cat" / "gone.png").symlink_to(folder / "nowhere.png")
    shutil.copy(folder / "cat" / "1.png", folder / "dog" / "also-1.png")


@pytest.mark.integration
def test_only_new_and_changed_files_are_opened_and_bad_ones_keep_their_reasons(folder, tmp_path, picture):
    spoil(folder, picture)
    assert len(opened(folder, tmp_path / "home")) == 44, (
        "40 pictures, one copy, three bad files; the link leads nowhere"
    )
    (folder / "cat" / "new.png").write_bytes(picture(99))
    (folder / "dog" / "2.png").write_bytes(picture(97))
    (folder / "dog" / "4.png").unlink()
    (folder / "dog" / "6.png").rename(folder / "cat" / "was-6.png")
    assert opened(folder, tmp_path / "home") == ["cat/new.png", "cat/was-6.png", "dog/2.png"]
    known, fresh = pets(folder, tmp_path / "home"), pets(folder, tmp_path / "fresh")
    assert files_of(known) == files_of(fresh)
    quarantine = pq.read_table(known.snapshot.path / "quarantine.parquet").to_pylist()
    assert [(row["origin"], row["reason"]) for row in quarantine] == [
        ("cat/1.png", "conflicting_labels"),
        ("cat/empty.png", "empty"),
        ("cat/gone.png", "unreadable"),
        ("cat/short.png", "damaged"),
        ("cat/text.png", "not_an_image"),
        ("dog/also-1.png", "conflicting_labels"),
    ]


def test_the_reason_says_how_many_were_read_unchanged_and_removed(folder, tmp_path, picture):
    first = pets(folder, tmp_path / "home")
    assert first.reason == f"new snapshot {first.snapshot.digest[:12]}: 40 inputs, 40 unique"
    for number in (2, 4, 6):
        (folder / "dog" / f"{number}.png").unlink()
    (folder / "cat" / "new.png").write_bytes(picture(99))
    (folder / "cat" / "bad.png").write_text("no image")
    second = pets(folder, tmp_path / "home")
    digest = second.snapshot.digest[:12]
    assert second.reason == f"new snapshot {digest}: 39 inputs (2 read, 37 unchanged, 3 removed), 38 unique"
    (folder / "cat" / "bad.png").unlink()
    assert counted(pets(folder, tmp_path / "home")) == "0 read, 38 unchanged, 1 removed"


def test_force_reads_everything(folder, tmp_path):
    first = pets(folder, tmp_path / "home")
    again = pets(folder, tmp_path / "home", force=True)
    assert counted(again) == "40 read, 0 unchanged, 0 removed"
    assert again.snapshot == first.snapshot


def test_a_content_whose_conflict_is_solved_comes_back_without_being_opened(folder, tmp_path):
    shutil.copy(folder / "cat" / "1.png", folder / "dog" / "also-1.png")
    assert pets(folder, tmp_path / "home").snapshot.quarantined == 2
    (folder / "dog" / "also-1.png").unlink()
    solved = pets(folder, tmp_path / "home")
    assert counted(solved) == "0 read, 40 unchanged, 1 removed"
    assert files_of(solved) == files_of(pets(folder, tmp_path / "fresh"))


def test_another_file_of_the_same_name_size_and_time_is_read(folder, tmp_path, picture):
    pets(folder, tmp_path / "home")
    path = folder / "cat" / "1.png"
    before = path.stat()
    other = encode_png(np.full((12, 12, 1), 7, np.uint8))
    path.write_bytes(other + b"\0" * (before.st_size - len(other)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert counted(pets(folder, tmp_path / "home")) == "1 read, 39 unchanged, 0 removed"


def test_another_share_of_test_samples_needs_no_reading(folder, tmp_path):
    pets(folder, tmp_path / "home")
    moved = pets(folder, tmp_path / "home", test_share=0.5)
    assert counted(moved) == "0 read, 40 unchanged, 0 removed"
    assert files_of(moved) == files_of(pets(folder, tmp_path / "fresh", test_share=0.5))


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.sweep) for seed in range(2, 6))])
def test_after_any_night_the_snapshot_is_that_of_a_full_ingestion(tmp_path, picture, seed):
    chance = random.Random(seed)
    folder = tmp_path / "pets"
    for number in range(24):
        place(folder, f"{chance.choice('abc')}/{number}.png", picture(number))
    for night in range(7):
        workers, run_bytes = (2, 1 << 25) if night == 3 else (1, chance.choice([1, 1 << 25]))
        known = pets(folder, tmp_path / "home", workers=workers, run_bytes=run_bytes)
        fresh = pets(folder, tmp_path / f"fresh-{night}")
        assert files_of(known) == files_of(fresh), f"night {night}"
        for _ in range(chance.randint(1, 8)):
            change(folder, chance, picture)


def place(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def change(folder: Path, chance: random.Random, picture: Callable[..., bytes]) -> None:
    """One thing that happens to a folder between two nights."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    one, other = chance.sample(files, 2)
    new = folder / chance.choice("abcd") / f"{chance.randrange(10**6)}.png"
    new.parent.mkdir(exist_ok=True)
    match chance.randrange(9):
        case 0:
            new.write_bytes(picture(chance.randrange(100, 1000), size=chance.choice([8, 12]), channels=1))
        case 1:
            one.unlink()
        case 2:
            one.rename(folder / chance.choice("abc") / one.name)  # Another label, unless it is the same.
        case 3:
            one.rename(new)
        case 4:
            new.write_bytes(chance.choice([b"", b"text", picture(3)[:50], picture(chance.randrange(9))[:-9]]))
        case 5:
            shutil.copy2(one, new)  # A copy of the same age, often under another label.
        case 6:
            one.write_bytes(picture(chance.randrange(100, 1000)))
        case 7:  # They change places, and each brings its size and age along.
            one.rename(new)
            other.rename(one)
            new.rename(other)
        case 8:
            new.symlink_to(chance.choice([one, folder / "nowhere.png"]))


@pytest.mark.parametrize("lost", ["snapshot", "part of the snapshot", "index", "byte of the index", "whole index"])
def test_what_was_lost_of_the_earlier_ingestion_is_read_again(folder, tmp_path, picture, lost):
    spoil(folder, picture)
    first = pets(folder, tmp_path / "home").snapshot.path
    [index] = (path for path in (tmp_path / "home" / "pets" / "ingests").iterdir() if path.is_dir())
    match lost:
        case "snapshot":
            shutil.rmtree(first)
        case "part of the snapshot":
            (first / "train" / "part-00000.parquet").unlink()
        case "index":
            next(index.glob("*/index.parquet")).unlink()
        case "byte of the index":
            file = next(index.glob("*/index.parquet"))
            file.write_bytes(file.read_bytes()[:-1])
        case "whole index":
            shutil.rmtree(index)
    (folder / "cat" / "new.png").write_bytes(picture(99))
    second = pets(folder, tmp_path / "home")
    assert counted(second).startswith("46 read, 0 unchanged, ") or ": 46 inputs, " in second.reason
    assert files_of(second) == files_of(pets(folder, tmp_path / "fresh"))
    (folder / "cat" / "newer.png").write_bytes(picture(100))
    assert counted(pets(folder, tmp_path / "home")).startswith("2 read, 45 unchanged, ")


@pytest.mark.integration
@pytest.mark.parametrize(
    "instant",
    [
        "pipeline._publish",
        "incremental_index.IncrementalIndex.replace",
        "incremental_index.shutil.rmtree",
        "pipeline.write_text",
    ],
)
def test_a_killed_ingestion_spoils_nothing_that_is_known(folder, tmp_path, picture, instant):
    spoil(folder, picture)
    pets(folder, tmp_path / "home")
    (folder / "cat" / "new.png").write_bytes(picture(99))
    (folder / "dog" / "2.png").unlink()
    assert opened(folder, tmp_path / "home", killed_before=instant) == ["cat/new.png"]
    again = opened(folder, tmp_path / "home")
    assert (
        again == ([] if instant == "pipeline.write_text" else ["cat/new.png"])
        or instant == "incremental_index.shutil.rmtree"
    )
    assert set(again) <= {"cat/new.png"}, "killed between the new index and the removal of the old one, it finds either"
    known = pets(folder, tmp_path / "home")
    assert files_of(known) == files_of(pets(folder, tmp_path / "fresh"))
    root = tmp_path / "home" / "pets"
    assert not list(root.glob(".staging-*"))
    [index] = (path for path in (root / "ingests").iterdir() if path.is_dir())
    assert len(list(index.iterdir())) == 1


def test_of_an_index_with_the_columns_of_an_earlier_version_the_names_count(folder, tmp_path):
    """It is not trusted, but says what was removed."""
    pets(folder, tmp_path / "home")
    [manifest] = tmp_path.glob("home/pets/ingests/*/*/manifest.json")
    index = pq.read_table(manifest.parent / "index.parquet")
    earlier = index.drop_columns(["measures", "fingerprint"]).append_column("width", pa.array([1] * len(index)))
    old = {**json.loads(manifest.read_text()), "code": "earlier"}
    del old["files"]
    with artifact_dir.staging(manifest.parent.parent) as staged:
        pq.write_table(earlier, staged / "index.parquet")
        shutil.rmtree(manifest.parent)
        artifact_dir.publish(staged, manifest.parent.with_name("earlier"), old)
    left = sorted(folder.rglob("*.png"))
    left.pop().unlink()
    assert counted(pets(folder, tmp_path / "home")) == f"{len(left)} read, 0 unchanged, 1 removed"


def test_what_cannot_be_read_is_tried_again(folder, tmp_path, picture, monkeypatch):
    def failing(self: ImageFolder, location: str, listed: object) -> object:
        sample = read(self, location, listed)
        return Unreadable(sample.origin, "Input/output error", listed) if sample.origin == "cat/1.png" else sample

    read = ImageFolder.read
    with monkeypatch.context() as patch:
        patch.setattr(ImageFolder, "read", failing)
        assert pets(folder, tmp_path / "home").snapshot.quarantined == 1
    (folder / "cat" / "new.png").write_bytes(picture(99))
    healed = pets(folder, tmp_path / "home")
    assert counted(healed) == "2 read, 39 unchanged, 0 removed"
    assert files_of(healed) == files_of(pets(folder, tmp_path / "fresh"))


def test_a_source_that_lists_nothing_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(Synthetic, "fingerprint", lambda self, location: location)

    def made(location: str) -> IngestResult:
        options = {"count": 30, "size": 16}
        spec = DataSpec(name="made", source="synthetic", source_options=options, location=location)
        return ingest_source(spec, datasets=tmp_path)

    assert SOURCES.build("synthetic", {}, field="").listed("") is None
    assert re.fullmatch(r"new snapshot \w{12}: 30 inputs, 30 unique", made("a").reason)
    assert re.fullmatch(r"snapshot \w{12} has the same content: 30 inputs, 30 unique", made("b").reason)
    assert {path.suffix for path in (tmp_path / "made" / "ingests").iterdir()} == {".json"}


@pytest.mark.sweep
def test_memory_does_not_grow_with_what_is_known(tmp_path):
    program = """
import re, sys
from pathlib import Path
from cl_core.data.ingest import row_group_writer
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.specs import DataSpec

row_group_writer.GROUP_BYTES = 1 << 20  # What is in memory is some row groups, whose usual size would hide the rest.
spec = DataSpec(name="pets", source="image_folder", location=sys.argv[1])
print(ingest_source(spec, datasets=Path(sys.argv[2]), run_bytes=1 << 20).reason)
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024)
"""

    def peak(count: int) -> float:
        folder = tmp_path / f"pets-{count}"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for number in range(count):
            (folder / f"{number}.png").write_bytes(encode_png(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)))
        command = [sys.executable, "-c", program, str(folder), str(tmp_path / str(count))]
        # Arrow's own pool takes 28 MiB at once in one run of ten, whatever it holds.
        run = partial(subprocess.run, command, check=True, env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"})
        run(stdout=subprocess.DEVNULL)
        (folder / "0.png").unlink()
        reason, used = run(capture_output=True, text=True).stdout.splitlines()
        assert f"(0 read, {count - 1:,} unchanged, 1 removed)" in reason
        return float(used)

    few, many = peak(1000), peak(4000)
    assert many - few < 20, "MiB; the larger folder holds 36 more"


def test_grayscale_and_color_and_sizes_survive_being_unchanged(folder, tmp_path):
    Image.new("RGB", (9, 5), "red").save(folder / "cat" / "red.jpg")
    Image.new("L", (7, 4), 50).save(folder / "cat" / "gray.gif")
    pets(folder, tmp_path / "home")
    (folder / "cat" / "1.png").unlink()
    assert files_of(pets(folder, tmp_path / "home")) == files_of(pets(folder, tmp_path / "fresh"))
