import hashlib
import io
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cl_core.data import cache
from cl_core.data.cache import build_cache, load_split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.snapshot import row_groups
from cl_core.errors import IntegrityError
from cl_core.modalities.image import Images
from cl_core.specs import DataSpec


@pytest.fixture
def snapshot(sample, tmp_path):
    options = {"label_column": "label", "split_column": "split"}
    spec = DataSpec(name="fashion", source="parquet", location=str(sample), source_options=options)
    return ingest_source(spec, datasets=tmp_path / "datasets").snapshot


@pytest.fixture
def ingested(tmp_path):
    """Snapshot of some images, written by Pillow into one class."""

    def make(*images: Image.Image, location: str = "in/train"):
        folder = tmp_path / location
        folder.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            image.save(folder / f"{number}.png")
        spec = DataSpec(name="made", source="image_folder", location=str(tmp_path / "in"))
        return ingest_source(spec, datasets=tmp_path / "datasets").snapshot

    return make


def test_images_ids_and_labels_are_those_of_the_source(snapshot, sample, tmp_path):
    split = load_split(build_cache(snapshot, Images(size=28), caches=tmp_path), "train")
    table = pq.read_table(sample).to_pylist()
    expected = {hashlib.sha256(row["image"]).digest(): row for row in table if row["split"] == "train"}
    assert (len(split.column), split.column.shape) == (2000, (28, 28, 1))
    assert [key.tobytes() for key in split.ids] == sorted(expected)
    assert split.labels is not None
    for row in (0, 1023, 1024, 1999):
        key = split.ids[row].tobytes()
        np.testing.assert_array_equal(
            split.column.take(np.array([row]))[0, ..., 0], Image.open(io.BytesIO(expected[key]["image"]))
        )
        assert snapshot.classes[split.labels[row]] == expected[key]["label"]
        assert int(split.sample_ids[row]) == int.from_bytes(key[:8], "big")
    assert (split.column.values.dtype, split.labels.dtype, split.sample_ids.dtype) == (np.uint8, np.int64, np.uint64)


def test_files_are_plain_columns_that_numpy_opens(snapshot, tmp_path):
    cache = build_cache(snapshot, Images(size=28), caches=tmp_path)
    assert cache == tmp_path / f"{snapshot.digest}-28x28x1"
    columns = {name: np.load(cache / f"train.{name}.npy", mmap_mode="r") for name in ("id", "image", "label")}
    assert {name: (column.shape, column.dtype.str) for name, column in columns.items()} == {
        "id": ((2000, 32), "|u1"),
        "image": ((2000, 28, 28, 1), "|u1"),
        "label": ((2000,), "<i4"),
    }
    # As numpy itself would have written them.
    np.save(tmp_path / "again.npy", columns["label"])
    assert (cache / "train.label.npy").read_bytes() == (tmp_path / "again.npy").read_bytes()


def test_more_threads_and_smaller_batches_write_the_same_bytes(folder, tmp_path, monkeypatch):
    spec = DataSpec(name="pets", source="image_folder", location=str(folder), test_share=0.3)
    snapshot = ingest_source(spec, datasets=tmp_path / "datasets").snapshot
    one = build_cache(snapshot, Images(size=12), caches=tmp_path / "one")
    monkeypatch.setattr(cache, "_DECODED_BYTES", 12 * 12 * 5)
    counted = []
    two = build_cache(snapshot, Images(size=12), caches=tmp_path / "two", workers=3, on_progress=counted.append)
    assert counted[:2] == [5, 10] and counted[-1] == 40
    files = sorted(path.name for path in one.glob("*.npy"))
    assert len(files) == 6
    assert [(one / name).read_bytes() for name in files] == [(two / name).read_bytes() for name in files]


def test_a_sound_cache_is_used_again_and_a_damaged_one_built_anew(snapshot, tmp_path):
    cache = build_cache(snapshot, Images(size=28), caches=tmp_path)
    written = (cache / "train.image.npy").stat().st_mtime_ns
    assert build_cache(snapshot, Images(size=28), caches=tmp_path) == cache
    assert (cache / "train.image.npy").stat().st_mtime_ns == written
    sound = (cache / "test.image.npy").read_bytes()
    (cache / "test.image.npy").write_bytes(sound[:1000] + bytes([sound[1000] ^ 1]) + sound[1001:])
    build_cache(snapshot, Images(size=28), caches=tmp_path)
    assert (cache / "test.image.npy").read_bytes() == sound


def test_a_wide_image_keeps_its_centered_square(ingested, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 90, 3), dtype=np.uint8)
    wide = Image.fromarray(noise)
    image = load_split(build_cache(ingested(wide), Images(size=10), caches=tmp_path), "train").column.take(slice(1))[0]
    resized = wide.resize((30, 10), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(image, np.asarray(resized)[:, 10:20])


def test_shrinking_is_antialiased(ingested, tmp_path):
    board = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    image = load_split(build_cache(ingested(board), Images(size=8), caches=tmp_path), "train").column.take(slice(1))[0]
    assert np.abs(image.astype(int) - 128).max() <= 4  # Without it, whole pixels would stay black or white.


def test_a_needle_of_an_image_does_not_take_much(ingested, tmp_path):
    image = load_split(
        build_cache(ingested(Image.new("L", (60_000, 1), 9)), Images(size=64), caches=tmp_path), "train"
    ).column.take(slice(None))
    assert image.shape == (1, 64, 64, 1)
    assert (image == 9).all()


def test_gray_images_of_a_color_dataset_have_three_equal_channels(ingested, tmp_path):
    snapshot = ingested(Image.new("RGB", (8, 8), (1, 2, 3)), Image.new("L", (8, 8), 7))
    images = load_split(build_cache(snapshot, Images(size=8), caches=tmp_path), "train").column.take(slice(None))
    assert {tuple(image[0, 0]) for image in images} == {(1, 2, 3), (7, 7, 7)}


def test_a_dataset_without_labels_has_none(ingested, tmp_path):
    cache = build_cache(ingested(Image.new("L", (8, 8))), Images(size=8), caches=tmp_path)
    assert load_split(cache, "train").labels is None


def test_some_unlabeled_images_have_minus_one(ingested, tmp_path):
    ingested(Image.new("L", (8, 8), 1), location="in/train/cat")
    cache = build_cache(ingested(Image.new("L", (8, 8), 2)), Images(size=8), caches=tmp_path)
    split = load_split(cache, "train")
    assert split.labels is not None
    assert dict(zip(split.column.take(slice(None))[:, 0, 0, 0].tolist(), split.labels.tolist(), strict=True)) == {
        1: 0,
        2: -1,
    }


def test_an_empty_split_loads_as_no_images(ingested, tmp_path):
    split = load_split(build_cache(ingested(Image.new("L", (8, 8))), Images(size=8), caches=tmp_path), "test")
    assert split.column.take(slice(None)).shape == (0, 8, 8, 1)


def test_images_stay_on_the_disk_until_they_are_taken(snapshot, tmp_path):
    split = load_split(build_cache(snapshot, Images(size=28), caches=tmp_path), "train")
    chosen = split.select(np.arange(1999, -1, -2)).select(slice(10, 20))
    assert isinstance(split.column.values.base, np.memmap)
    assert np.shares_memory(chosen.column.values, split.column.values)
    np.testing.assert_array_equal(chosen.ids, split.ids[1979:1959:-2])
    np.testing.assert_array_equal(chosen.column.take(slice(2, 4)), split.column.values[[1975, 1973]])


def test_a_folder_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(IntegrityError, match="no readable manifest"):
        load_split(tmp_path / "gone", "train")


def test_rows_of_a_snapshot_are_read_in_bounded_lists(snapshot):
    assert [len(group) for group in row_groups(snapshot, "train")] == [1024, 976]


def test_a_snapshot_that_lost_a_file_is_not_cached_silently(snapshot, tmp_path):
    shutil.rmtree(snapshot.path / "train")
    with pytest.raises(IntegrityError, match=r"holds 500 rows, but its manifest lists 2,500"):
        build_cache(snapshot, Images(size=28), caches=tmp_path)
