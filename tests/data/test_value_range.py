"""`data.value_range`: which stored values become black and white, from the files to the cache; and its warning."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from cl_core.data.cache import build_cache, load_split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.snapshot import open_snapshot, snapshot_profile
from cl_core.hashing import digest_of
from cl_core.specs import DataSpec


def png_of(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def sensor(tmp_path):
    """A folder of 30 pictures of 12 bits in 16-bit files, with their values by name."""
    folder, rng = tmp_path / "sensor", np.random.default_rng(0)
    folder.mkdir()
    values = {f"{number}.png": rng.integers(3, 4096, (9, 9), dtype=np.uint16) for number in range(30)}
    values["0.png"][0, 0], values["1.png"][0, 0] = 3, 4095
    for name, picture in values.items():
        (folder / name).write_bytes(png_of(picture))
    return folder, values


def spec_of(folder, **changes) -> DataSpec:
    return DataSpec(name="sensor", source="image_folder", location=str(folder), image_size=9, **changes)


def test_the_cache_and_the_channel_moments_are_those_of_the_stretched_values(sensor, tmp_path):
    folder, values = sensor
    snapshot = ingest_source(spec_of(folder, value_range=(100, 4000)), datasets=tmp_path / "home").snapshot
    assert snapshot_profile(snapshot.path).content["value_range"] == [100, 4000]
    assert open_snapshot(snapshot.path) == snapshot
    cache = build_cache(snapshot, spec_of(folder, value_range=(100, 4000)).built_modality, caches=tmp_path / "caches")
    levels = [
        np.floor((np.clip(v.astype(np.float64), 100, 4000) - 100) / 3900 * 255 + 0.5).astype(np.uint8)
        for v in values.values()
    ]
    found = np.concatenate([load_split(cache, split).column.take(slice(None)) for split in ("train", "test")])
    assert sorted(image.tobytes() for image in found) == sorted(image.tobytes() for image in levels)
    facts, trained = snapshot_profile(snapshot.path), load_split(cache, "train").column.take(slice(None)) / 255
    assert facts.content["mean"][0] == pytest.approx(trained.mean(), abs=1e-12)
    assert facts.content["std"][0] == pytest.approx(trained.std(), abs=1e-12)
    assert "narrow" not in facts.content


def test_another_range_is_another_snapshot_of_its_own_and_none_is_that_of_before(sensor, tmp_path):
    folder, _ = sensor
    specs = [spec_of(folder, **changes) for changes in ({}, {"value_range": (0, 4095)}, {"value_range": (0, 2000)})]
    snapshots = [ingest_source(spec, datasets=tmp_path / "home").snapshot for spec in specs]
    assert len({snapshot.digest for snapshot in snapshots}) == 3
    assert [ingest_source(spec, datasets=tmp_path / "home").new for spec in specs] == [False] * 3
    pairs = zip(snapshots, specs, strict=True)
    assert len({build_cache(snapshot, spec.built_modality, caches=tmp_path) for snapshot, spec in pairs}) == 3
    assert "value_range" not in json.loads((snapshots[0].path / "manifest.json").read_text())
    assert "value_range" not in json.loads(specs[0].model_dump_json())
    assert digest_of(specs[1]) != digest_of(specs[2])


def test_with_another_range_the_images_are_read_again(sensor, tmp_path):
    folder, _ = sensor
    ingest_source(spec_of(folder), datasets=tmp_path / "home")
    ranged = ingest_source(spec_of(folder, value_range=(0, 4095)), datasets=tmp_path / "home").snapshot
    fresh = ingest_source(spec_of(folder, value_range=(0, 4095)), datasets=tmp_path / "fresh").snapshot
    assert snapshot_profile(ranged.path) == snapshot_profile(fresh.path)
    assert snapshot_profile(ranged.path).content["mean"][0] == pytest.approx(0.5, abs=0.03)


def test_twelve_bits_in_sixteen_are_warned_of_with_the_values_seen_and_the_option(sensor, tmp_path):
    folder, _ = sensor
    snapshot = ingest_source(spec_of(folder), datasets=tmp_path / "home").snapshot
    facts = snapshot_profile(snapshot.path)
    assert facts.content["narrow"] == [{"bits": 16, "images": 30, "low": 3, "high": 4095}]
    [warning] = facts.kind.warnings(facts.content)
    assert warning == (
        "the values of all 30 images of 16 bits are 3 to 4,095, at most 1/16 of 0 to 65,535, so they have few levels "
        "of gray; set data.value_range to [3, 4095], or to the range of the sensor"
    )


def test_one_image_that_uses_more_of_the_range_ends_the_warning_and_other_bits_count_apart(sensor, tmp_path):
    folder, _ = sensor
    (folder / "bright.png").write_bytes(png_of(np.full((9, 9), 4099, np.uint16)))  # 3 to 4099: more than 65535 / 16.
    (folder / "dark.png").write_bytes(png_of(np.arange(81, dtype=np.uint8).reshape(9, 9) % 16))  # 0 to 15 of 255.
    facts = snapshot_profile(ingest_source(spec_of(folder), datasets=tmp_path / "home").snapshot.path)
    assert facts.content["narrow"] == [{"bits": 8, "images": 1, "low": 0, "high": 15}]


def test_values_that_hardly_reach_into_the_range_that_was_asked_for_are_warned_of(sensor, tmp_path):
    folder, _ = sensor
    ranged = ingest_source(spec_of(folder, value_range=(4000, 60_000)), datasets=tmp_path / "home").snapshot
    facts = snapshot_profile(ranged.path)
    [warning] = facts.kind.warnings(facts.content)
    assert "are 3 to 4,095, at most 1/16 of 4,000 to 60,000" in warning


def test_unchanged_images_count_for_the_warning_without_being_opened(sensor, tmp_path):
    folder, _ = sensor
    ingest_source(spec_of(folder), datasets=tmp_path / "home")
    (folder / "31.png").write_bytes(png_of(np.full((9, 9), 1, np.uint16)))
    again = ingest_source(spec_of(folder), datasets=tmp_path / "home")
    assert "1 read, 30 unchanged" in again.reason
    content = snapshot_profile(again.snapshot.path).content
    assert content["narrow"] == [{"bits": 16, "images": 31, "low": 1, "high": 4095}]


@pytest.mark.parametrize("value_range", [(5, 5), (9, 3), (-1, 5), (0, 70_000)])
def test_a_range_that_does_not_rise_or_is_of_no_file_is_refused(value_range):
    with pytest.raises(ValidationError, match=r"expected two values from 0 to 65535, .*; got \[") as caught:
        spec_of("", value_range=value_range)
    assert caught.value.errors()[0]["loc"] == ("value_range",)
