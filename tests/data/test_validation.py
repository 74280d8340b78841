import json
import shutil
import tracemalloc

import pytest
from PIL import Image, ImageEnhance

from cl_core.data import validation
from cl_core.data.cache import build_cache
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.validation import ValidationReport, look_alikes, validate_snapshot
from cl_core.errors import DataError
from cl_core.modalities.image import Images
from cl_core.specs import DataSpec


@pytest.fixture
def validated(tmp_path):
    """Ingests, caches and validates a folder."""

    def run(folder, **changes):
        settings = {"min_train_samples": 2, "image_size": 12, **changes}
        spec = DataSpec(name="pets", source="image_folder", location=str(folder), **settings)
        snapshot = ingest_source(spec, datasets=tmp_path / "datasets").snapshot
        return validate_snapshot(snapshot, build_cache(snapshot, Images(size=12), caches=tmp_path / "caches"), spec)

    return run


@pytest.fixture
def clothes(sample, tmp_path):
    """The committed sample, ingested and cached."""
    options = {"label_column": "label", "split_column": "split"}
    spec = DataSpec(name="fashion", source="parquet", location=str(sample), source_options=options)
    snapshot = ingest_source(spec, datasets=tmp_path).snapshot
    return snapshot, build_cache(snapshot, Images(size=28), caches=tmp_path), spec


def test_sound_data_passes_with_its_numbers(clothes):
    report = validate_snapshot(*clothes)
    assert (report.train_samples, report.test_samples, report.classes, report.smallest_class) == (2000, 500, 10, 200)
    assert (report.quarantined, report.quarantined_share, report.duplicates, report.unlabeled) == (0, 0.0, 0, 0)
    assert ValidationReport.model_validate(json.loads(report.model_dump_json())) == report


def test_near_duplicates_are_found_in_blocks_of_bounded_memory(clothes, monkeypatch):
    whole = validate_snapshot(*clothes)
    monkeypatch.setattr(validation, "_HASHED_BYTES", 28 * 28 * 40)
    validate_snapshot(*clothes)
    tracemalloc.start()
    in_blocks = validate_snapshot(*clothes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert in_blocks == whole
    assert peak < 2 << 20  # All 2,000 would be 1.5 MiB of bytes, and 6 MiB of float32.


def test_files_passed_over_are_counted_by_suffix(folder, validated):
    (folder / "cat" / "notes.txt").write_text("text")
    assert validated(folder, test_share=0.3).passed_over == {".txt": 1}


def test_classes_of_folders_that_look_alike_are_named(folder, validated):
    (folder / "dog").rename(folder / "Cat ")
    assert validated(folder, test_share=0.3).look_alikes == [["Cat", "cat"]]


def test_classes_without_a_training_sample_are_named(folder, validated):
    assert validated(folder, test_share=0.3).test_only == []
    assert validated(folder, test_share=0.5, group="folder:1").test_only == ["cat"]


def test_too_few_training_samples_are_refused(folder, validated):
    with pytest.raises(DataError, match=r"3\d unique training samples, at least 64 are needed; add samples, or lower"):
        validated(folder, min_train_samples=64)


def test_an_empty_test_split_is_refused(folder, tmp_path, validated):
    shutil.copytree(folder, tmp_path / "in" / "train")
    with pytest.raises(DataError, match=r"no test samples; give the source a test split"):
        validated(tmp_path / "in")


def test_one_class_is_refused_and_no_class_is_not(folder, validated):
    shutil.rmtree(folder / "dog")
    with pytest.raises(DataError, match=r"all labeled samples are of one class, 'cat'"):
        validated(folder, test_share=0.3)
    assert validated(folder, test_share=0.3, source_options={"label_from": "none"}).classes == 0


def test_copies_in_both_splits_are_left_out_of_the_training_and_named_and_never_stop_a_run(folder, tmp_path, validated):
    assert validated(folder, test_share=0.3).copies_of_test == 0
    shutil.copytree(folder, tmp_path / "in" / "train")
    shutil.copytree(folder / "cat", tmp_path / "in" / "test" / "cat")
    report = validated(tmp_path / "in")
    assert (report.quarantined, report.copies_of_test, report.train_samples) == (20, 20, 20)
    assert report.copied_origins[0] == "train/cat/1.png" and len(report.copied_origins) == 8
    # What cannot be read still stops it, by its own share.
    for number in range(4):
        (tmp_path / "in" / "train" / "cat" / f"bad-{number}.png").write_text("no image")
    with pytest.raises(DataError, match=r"4 of 64 inputs \(6\.2%\) are quarantined \(4 not_an_image\), at most 5\.0%"):
        validated(tmp_path / "in")


def test_too_large_a_quarantined_share_is_refused_with_its_reasons(folder, validated):
    for number in range(10):
        (folder / "cat" / f"bad-{number}.png").write_text("no image")
    with pytest.raises(DataError, match=r"10 of 50 inputs \(20.0%\) are quarantined \(10 not_an_image\), at most 5.0%"):
        validated(folder)
    assert validated(folder, max_quarantined_share=0.2).quarantined_share == pytest.approx(0.2)


def test_all_that_is_wrong_is_said_at_once(folder, tmp_path, validated):
    shutil.copytree(folder / "cat", tmp_path / "in" / "train" / "cat")
    with pytest.raises(DataError, match=r"training samples.*; no test samples.*; all labeled samples are of one class"):
        validated(tmp_path / "in", min_train_samples=64)


def test_classes_that_look_alike_are_named_and_not_refused(folder, validated):
    (folder / "dog").rename(folder / "Ca t")
    assert validated(folder, test_share=0.3).look_alikes == [["Ca t", "cat"]]


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        # Composed and decomposed, sharp s and its capitals, a no-break space and none, full-width digits.
        (["caf\u00e9", "cafe\u0301", "cafe"], [["caf\u00e9", "cafe\u0301"]]),
        (["Straße", "STRASSE", "Strase"], [["Straße", "STRASSE"]]),
        (["a\u00a0b", "ab", "a b", "a-b"], [["a\u00a0b", "ab", "a b"]]),
        (["\uff11", "1", "0", "10"], [["\uff11", "1"]]),
        ([], []),
    ],
)
def test_names_look_alike_by_case_blanks_and_unicode_form(names, alike):
    assert look_alikes(names) == alike


def test_near_duplicates_across_splits_are_reported_and_not_refused(tmp_path, validated, folder):
    shutil.copytree(folder, tmp_path / "in" / "train")
    (tmp_path / "in" / "test" / "cat").mkdir(parents=True)
    for number in (1, 3, 5):
        image = Image.open(folder / "cat" / f"{number}.png")
        ImageEnhance.Brightness(image).enhance(0.98).save(tmp_path / "in" / "test" / "cat" / f"{number}.png")
    Image.new("L", (12, 12), 50).save(tmp_path / "in" / "test" / "cat" / "plain.png")
    found = validated(tmp_path / "in").near_duplicates
    assert (found.pairs, found.test_samples, found.plain_samples, found.complete) == (3, 3, 1, True)
    assert found.test_share == 0.75
    assert all(len(train) == len(test) == 64 for train, test in found.examples)
    assert len(found.examples) == 3
    assert set(found.origins) == {(f"train/cat/{number}.png", f"test/cat/{number}.png") for number in (1, 3, 5)}
