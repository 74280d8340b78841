import hashlib
import io
import shutil

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cl_core.data import cache as cache_module
from cl_core.data.cache import build_cache, cached_groups, load_split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.snapshot import row_groups
from cl_core.errors import DataError, IntegrityError
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
    split = load_split(build_cache(snapshot, size=28, caches=tmp_path), "train")
    table = pq.read_table(sample).to_pylist()
    expected = {hashlib.sha256(row["image"]).digest(): row for row in table if row["split"] == "train"}
    assert split.images.shape == (2000, 28, 28, 1)
    assert [key.tobytes() for key in split.ids] == sorted(expected)
    assert split.labels is not None
    for row in (0, 1023, 1024, 1999):
        key = split.ids[row].tobytes()
        np.testing.assert_array_equal(split.images[row, ..., 0], Image.open(io.BytesIO(expected[key]["image"])))
        assert snapshot.classes[split.labels[row]] == expected[key]["label"]
        assert int(split.sample_ids[row]) == int.from_bytes(key[:8], "big")
    assert (split.images.dtype, split.labels.dtype, split.sample_ids.dtype) == (np.uint8, np.int64, np.uint64)


def test_files_are_plain_with_groups_of_1024_rows(snapshot, tmp_path):
    cache = build_cache(snapshot, size=28, caches=tmp_path)
    assert cache == tmp_path / f"{snapshot.digest}-28x28x1"
    metadata = pq.ParquetFile(cache / "train.parquet").metadata
    assert [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)] == [1024, 976]
    column = metadata.row_group(0).column(1)
    assert (column.compression, column.has_dictionary_page) == ("UNCOMPRESSED", False)
    schema = pq.read_schema(cache / "train.parquet")
    assert [str(field.type) for field in schema] == ["fixed_size_binary[32]", "fixed_size_binary[784]", "int32"]


@pytest.mark.integration
def test_two_workers_write_the_same_bytes(snapshot, tmp_path):
    one = build_cache(snapshot, size=28, caches=tmp_path / "one")
    two = build_cache(snapshot, size=28, caches=tmp_path / "two", workers=2)
    assert (one / "train.parquet").read_bytes() == (two / "train.parquet").read_bytes()


def test_a_sound_cache_is_used_again_and_a_damaged_one_built_anew(snapshot, tmp_path):
    cache = build_cache(snapshot, size=28, caches=tmp_path)
    written = (cache / "train.parquet").stat().st_mtime_ns
    assert build_cache(snapshot, size=28, caches=tmp_path) == cache
    assert (cache / "train.parquet").stat().st_mtime_ns == written
    sound = (cache / "test.parquet").read_bytes()
    (cache / "test.parquet").write_bytes(sound[:1000] + bytes([sound[1000] ^ 1]) + sound[1001:])
    build_cache(snapshot, size=28, caches=tmp_path)
    assert (cache / "test.parquet").read_bytes() == sound


def test_a_wide_image_keeps_its_centered_square(ingested, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 90, 3), dtype=np.uint8)
    wide = Image.fromarray(noise)
    image = load_split(build_cache(ingested(wide), size=10, caches=tmp_path), "train").images[0]
    resized = wide.resize((30, 10), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(image, np.asarray(resized)[:, 10:20])


def test_shrinking_is_antialiased(ingested, tmp_path):
    board = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    image = load_split(build_cache(ingested(board), size=8, caches=tmp_path), "train").images[0]
    assert np.abs(image.astype(int) - 128).max() <= 4  # Without it, whole pixels would stay black or white.


def test_a_needle_of_an_image_does_not_take_much(ingested, tmp_path):
    image = load_split(build_cache(ingested(Image.new("L", (60_000, 1), 9)), size=64, caches=tmp_path), "train").images
    assert image.shape == (1, 64, 64, 1)
    assert (image == 9).all()


def test_gray_images_of_a_color_dataset_have_three_equal_channels(ingested, tmp_path):
    snapshot = ingested(Image.new("RGB", (8, 8), (1, 2, 3)), Image.new("L", (8, 8), 7))
    images = load_split(build_cache(snapshot, size=8, caches=tmp_path), "train").images
    assert {tuple(image[0, 0]) for image in images} == {(1, 2, 3), (7, 7, 7)}


def test_a_dataset_without_labels_has_none(ingested, tmp_path):
    cache = build_cache(ingested(Image.new("L", (8, 8))), size=8, caches=tmp_path)
    assert load_split(cache, "train").labels is None


def test_some_unlabeled_images_have_minus_one(ingested, tmp_path):
    ingested(Image.new("L", (8, 8), 1), location="in/train/cat")
    cache = build_cache(ingested(Image.new("L", (8, 8), 2)), size=8, caches=tmp_path)
    split = load_split(cache, "train")
    assert split.labels is not None
    assert dict(zip(split.images[:, 0, 0, 0].tolist(), split.labels.tolist(), strict=True)) == {1: 0, 2: -1}


def test_an_empty_split_loads_as_no_images(ingested, tmp_path):
    split = load_split(build_cache(ingested(Image.new("L", (8, 8))), size=8, caches=tmp_path), "test")
    assert split.images.shape == (0, 8, 8, 1)


def test_too_little_memory_is_an_error_with_the_numbers(snapshot, tmp_path, monkeypatch):
    cache = build_cache(snapshot, size=28, caches=tmp_path)
    free = psutil.virtual_memory()._replace(available=1 << 20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(
        DataError, match=r"train split needs 0.0017 GiB of memory \(2,000 images of 28x28x1 bytes\), but 0.000977"
    ):
        load_split(cache, "train")


def test_reading_holds_two_row_groups_at_most(snapshot, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "GROUP_ROWS", 100)
    cache = build_cache(snapshot, size=64, caches=tmp_path)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in cached_groups(cache, "train")]
    assert len(held) == 21  # Of the 1,024 and 976 rows of the row groups of the snapshot.
    assert max(held) < 2.1 * 100 * (64 * 64 + 32 + 4)


def test_a_folder_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(IntegrityError, match="no readable manifest"):
        load_split(tmp_path / "gone", "train")


def test_rows_of_a_snapshot_are_read_in_bounded_lists(snapshot):
    assert [len(group) for group in row_groups(snapshot, "train")] == [1024, 976]


def test_a_snapshot_that_lost_a_file_is_not_cached_silently(snapshot, tmp_path):
    shutil.rmtree(snapshot.path / "train")
    with pytest.raises(IntegrityError, match=r"holds 500 rows, but its manifest lists 2,500"):
        build_cache(snapshot, size=28, caches=tmp_path)
