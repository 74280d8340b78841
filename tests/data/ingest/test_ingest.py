import hashlib
import json
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cl_core.data.ingest import pipeline
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.snapshot import SnapshotProfile, open_snapshot, row_groups, snapshot_profile
from cl_core.errors import DataError, IntegrityError, SpecError
from cl_core.specs import DataSpec


def pets(folder: Path, **changes: object) -> DataSpec:
    return DataSpec(name="pets", source="image_folder", location=str(folder), **changes)


def digest_after(folder: Path, home: Path, **settings: object) -> str:
    return ingest_source(pets(folder), datasets=home, **settings).snapshot.digest


def fashion(sample: Path) -> DataSpec:
    options = {"label_column": "label", "split_column": "split"}
    return DataSpec(name="fashion", source="parquet", location=str(sample), source_options=options)


def test_a_snapshot_holds_every_file_once_under_the_sha256_of_its_bytes(folder, tmp_path):
    snapshot = ingest_source(pets(folder), datasets=tmp_path / "home").snapshot
    expected = {hashlib.sha256(p.read_bytes()).digest(): (p.read_bytes(), p.parent.name) for p in folder.rglob("*.png")}
    rows = [row for split in ("train", "test") for group in row_groups(snapshot, split) for row in group]
    assert {row.id: (row.payload, row.label) for row in rows} == expected
    assert len(rows) == 40


def test_rows_are_sorted_and_the_hash_prefix_decides_the_split(folder, tmp_path):
    snapshot = ingest_source(pets(folder, test_share=0.25), datasets=tmp_path / "home").snapshot
    ids = sorted(hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.png"))
    for split, of_split in (("test", lambda i: i < "4"), ("train", lambda i: i >= "4")):  # 0x40... is a quarter.
        table = pq.read_table(snapshot.path / split)
        assert [i.hex() for i in table["id"].to_pylist()] == [i for i in ids if of_split(i)]


def test_the_digest_is_the_sha256_of_ids_splits_and_labels_in_order(folder, tmp_path):
    snapshot = ingest_source(pets(folder), datasets=tmp_path / "home").snapshot
    expected = hashlib.sha256(b"counterpoint snapshot 1\n")
    files = {hashlib.sha256(p.read_bytes()).digest(): p for p in folder.rglob("*.png")}
    for key in sorted(files):
        split = "test" if int(key[:8].hex(), 16) < 0.1 * 2**64 else "train"
        expected.update(key + f'["{split}","{files[key].parent.name}"]\n'.encode())
    assert snapshot.digest == expected.hexdigest()
    assert snapshot.path == tmp_path / "home" / "pets" / snapshot.digest


def test_other_names_another_order_and_copies_give_the_same_digest(folder, tmp_path):
    plain = digest_after(folder, tmp_path / "a")
    other = tmp_path / "renamed"
    for path in folder.rglob("*.png"):
        for copy in range(2):
            name = f"{100 - int(path.stem):03d}-{copy}.PNG"
            target = other / path.parent.name / "deeper" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    twice = ingest_source(pets(other), datasets=tmp_path / "b").snapshot
    assert twice.digest == plain
    assert snapshot_profile(twice.path).duplicates == 40
    assert pq.read_table(twice.path / "sources.parquet").num_rows == 80


def test_more_workers_and_smaller_runs_write_the_same_bytes(folder, tmp_path):
    one = ingest_source(pets(folder), datasets=tmp_path / "one").snapshot
    two = ingest_source(pets(folder), datasets=tmp_path / "two", workers=2, run_bytes=1).snapshot
    for path in one.path.rglob("*"):
        if path.is_file():
            assert (two.path / path.relative_to(one.path)).read_bytes() == path.read_bytes()


def test_one_image_more_gives_another_digest(folder, tmp_path, picture):
    before = digest_after(folder, tmp_path / "home")
    (folder / "cat" / "new.png").write_bytes(picture(99))
    assert digest_after(folder, tmp_path / "home") != before


def test_another_label_gives_another_digest(folder, tmp_path):
    before = digest_after(folder, tmp_path / "home")
    (folder / "cat").rename(folder / "lynx")
    assert digest_after(folder, tmp_path / "home") != before


def test_an_unchanged_source_is_not_read_again(folder, tmp_path, monkeypatch):
    first = ingest_source(pets(folder), datasets=tmp_path / "home")
    monkeypatch.setattr(pipeline, "collect_inputs", lambda *_, **__: pytest.fail("the source was read"))
    again = ingest_source(pets(folder), datasets=tmp_path / "home")
    assert (first.new, again.new) == (True, False)
    assert again.snapshot == first.snapshot
    assert again.reason == f"snapshot {first.snapshot.digest[:12]} is up to date (source unchanged)"


def test_what_is_passed_over_is_in_the_message_and_the_manifest(folder, tmp_path):
    for name in ("labels.csv", "cat/notes.txt", "dog/notes.TXT"):
        (folder / name).write_text("text")
    first = ingest_source(pets(folder), datasets=tmp_path / "home")
    again = ingest_source(pets(folder), datasets=tmp_path / "home")
    assert first.reason.endswith("40 unique; passed over: 1 .csv, 2 .txt")
    assert again.reason.endswith("is up to date (source unchanged); passed over: 1 .csv, 2 .txt")
    assert snapshot_profile(first.snapshot.path).passed_over == {".csv": 1, ".txt": 2}


def test_a_manifest_of_0_1_0_which_counts_nothing_passed_over_is_read(folder, tmp_path):
    path = ingest_source(pets(folder), datasets=tmp_path / "home").snapshot.path
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["passed_over"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert open_snapshot(path).digest == path.name
    assert snapshot_profile(path).passed_over == {}


def test_an_export_that_was_written_again_within_its_time_and_size_is_read_again(folder, tmp_path):
    """Only the change time and the inode tell; what has not changed is not read."""
    images = [path.read_bytes() for path in sorted(folder.rglob("*.png"))]
    export = tmp_path / "export" / "default" / "train" / "0000.parquet"
    export.parent.mkdir(parents=True)
    spec = DataSpec(name="pets", source="parquet", location=str(tmp_path / "export"))

    def ingest(rows):
        pq.write_table(pa.table({"image": images[:20], "row": rows}), export, compression="none", use_dictionary=False)
        os.utime(export, ns=(10**18, 10**18))
        counted = []
        ingest_source(spec, datasets=tmp_path / "home", on_progress=counted.append)
        again = ingest_source(spec, datasets=tmp_path / "home", on_progress=counted.append)
        assert not again.new
        return export.stat().st_size, counted

    (size, counted), (size_again, counted_again) = ingest(list(range(20))), ingest(list(range(1, 21)))
    assert size == size_again and counted == counted_again == [20]


def test_force_reads_again_and_finds_the_same(folder, tmp_path):
    counted = []
    ingest_source(pets(folder), datasets=tmp_path / "home")
    again = ingest_source(pets(folder), datasets=tmp_path / "home", force=True, on_progress=counted.append)
    assert counted[-1] == 40
    assert not again.new
    assert again.reason.endswith("has the same content: 40 inputs (40 read, 0 unchanged, 0 removed), 40 unique")


def test_a_touched_file_is_read_again(folder, tmp_path):
    ingest_source(pets(folder), datasets=tmp_path / "home")
    counted = []
    (folder / "cat" / "1.png").touch()
    ingest_source(pets(folder), datasets=tmp_path / "home", on_progress=counted.append)
    assert counted[-1] == 40


def test_the_same_content_from_another_place_brings_its_own_origins_and_quarantine(folder, tmp_path):
    first = ingest_source(pets(folder), datasets=tmp_path / "home").snapshot
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "cat" / "broken.png").write_bytes(b"no image")
    second = ingest_source(pets(other), datasets=tmp_path / "home")
    assert (second.snapshot.digest, second.new) == (first.digest, False)
    assert (first.quarantined, second.snapshot.quarantined) == (0, 1)
    # And the first place does not take the second one's quarantine for its own.
    assert ingest_source(pets(folder), datasets=tmp_path / "home").snapshot.quarantined == 0


def test_a_flipped_byte_is_refused_when_opened_and_repaired_by_ingesting(folder, tmp_path):
    snapshot = ingest_source(pets(folder), datasets=tmp_path / "home").snapshot
    part = snapshot.path / "train" / "part-00000.parquet"
    sound = part.read_bytes()
    part.write_bytes(sound[:500] + bytes([sound[500] ^ 1]) + sound[501:])
    with pytest.raises(IntegrityError, match=r"part-00000.parquet has changed"):
        open_snapshot(snapshot.path)
    assert ingest_source(pets(folder), datasets=tmp_path / "home").new
    assert part.read_bytes() == sound


def test_a_folder_without_a_snapshot_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text('{"files": {}}')
    with pytest.raises(IntegrityError, match=r"does not describe a snapshot"):
        open_snapshot(tmp_path)


def test_a_content_with_two_labels_is_quarantined_in_all_copies(folder, tmp_path):
    shutil.copy(folder / "cat" / "1.png", folder / "dog" / "same-as-1.png")
    snapshot = ingest_source(pets(folder), datasets=tmp_path / "home").snapshot
    assert sum(snapshot.rows.values()) == 39
    quarantine = pq.read_table(snapshot.path / "quarantine.parquet").to_pylist()
    assert [(row["origin"], row["reason"]) for row in quarantine] == [
        ("cat/1.png", "conflicting_labels"),
        ("dog/same-as-1.png", "conflicting_labels"),
    ]
    assert quarantine[0]["detail"] == "labeled 'cat' here; copies of it are labeled 'cat', 'dog'"


def test_an_unlabeled_copy_takes_the_label_of_the_other(folder, tmp_path):
    before = digest_after(folder, tmp_path / "home")
    shutil.copy(folder / "cat" / "1.png", folder / "loose.png")
    assert digest_after(folder, tmp_path / "home") == before


def test_a_content_of_both_splits_is_tested_on_and_its_training_copies_are_quarantined(folder, tmp_path):
    root = tmp_path / "split"
    shutil.copytree(folder, root / "train")
    (root / "test" / "cat").mkdir(parents=True)
    for name in ("1.png", "3.png"):
        shutil.copy(folder / "cat" / name, root / "test" / "cat" / name)
    shutil.copy(folder / "cat" / "1.png", root / "train" / "cat" / "again.png")
    snapshot = ingest_source(pets(root), datasets=tmp_path / "home").snapshot
    assert snapshot.rows == {"test": 2, "train": 38}
    assert snapshot_profile(snapshot.path).leaked == 2
    quarantine = pq.read_table(snapshot.path / "quarantine.parquet").to_pylist()
    assert [(row["origin"], row["reason"]) for row in quarantine] == [
        ("train/cat/1.png", "in_test_split"),
        ("train/cat/3.png", "in_test_split"),
        ("train/cat/again.png", "in_test_split"),
    ]
    wanted = "the test split has the same image: test/cat/1.png; it is tested on, and not trained on"
    assert quarantine[0]["detail"] == quarantine[2]["detail"] == wanted
    # The same without the training copies: they are in no digest. And a night later nothing else is read.
    for name in ("1.png", "3.png", "again.png"):
        (root / "train" / "cat" / name).unlink()
    cleaned = ingest_source(pets(root), datasets=tmp_path / "home")
    assert cleaned.snapshot.digest == snapshot.digest
    assert (
        "(0 read, 39 unchanged, 3 removed)" in cleaned.reason or "(0 read, 40 unchanged, 3 removed)" in cleaned.reason
    )


def test_bad_files_are_quarantined_with_their_reason_and_the_run_goes_on(folder, tmp_path, picture):
    bad = folder / "cat"
    (bad / "zero.jpg").write_bytes(b"")
    (bad / "text.png").write_text("this is no image")
    Image.effect_noise((64, 64), 50).save(bad / "short.jpg")
    (bad / "short.jpg").write_bytes((bad / "short.jpg").read_bytes()[:-200])
    bomb = bytearray(picture(8))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2  # Width and height, and below the checksum of the header.
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    (bad / "bomb.png").write_bytes(bomb)
    (bad / "gone.png").symlink_to(tmp_path / "nowhere.png")
    snapshot = ingest_source(pets(folder), datasets=tmp_path / "home").snapshot
    rows = pq.read_table(snapshot.path / "quarantine.parquet").to_pylist()
    assert {row["origin"]: row["reason"] for row in rows} == {
        "cat/bomb.png": "too_large",
        "cat/gone.png": "unreadable",
        "cat/short.jpg": "damaged",
        "cat/text.png": "not_an_image",
        "cat/zero.jpg": "empty",
    }
    assert (sum(snapshot.rows.values()), snapshot.quarantined) == (40, 5)
    assert snapshot_profile(snapshot.path).inputs == 45


def test_a_source_without_one_usable_image_is_an_error_that_shows_one(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_text("text")
    with pytest.raises(DataError, match=r"none of the 1 inputs .* \(1 not_an_image\); for example a.png: starts with"):
        ingest_source(pets(tmp_path / "in"), datasets=tmp_path / "home")
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_the_profile_agrees_with_numpy(tmp_path):
    rng = np.random.default_rng(3)
    (tmp_path / "in" / "train" / "a").mkdir(parents=True)
    color, gray = rng.integers(0, 256, (5, 9, 3), dtype=np.uint8), rng.integers(0, 256, (7, 4), dtype=np.uint8)
    Image.fromarray(color).save(tmp_path / "in" / "train" / "a" / "color.png")
    Image.fromarray(gray).save(tmp_path / "in" / "train" / "a" / "gray.png")
    profile = snapshot_profile(ingest_source(pets(tmp_path / "in"), datasets=tmp_path / "home").snapshot.path)
    pixels = np.concatenate([color.reshape(-1, 3), np.repeat(gray.reshape(-1, 1), 3, axis=1)]) / 255
    content = profile.content
    assert content["channels"] == 3
    assert content["mean"] == pytest.approx(pixels.mean(axis=0))
    assert content["std"] == pytest.approx(pixels.std(axis=0))
    assert {(s["width"], s["height"], s["count"]) for s in content["sizes"]} == {(9, 5, 1), (4, 7, 1)}
    assert profile.formats == {"PNG": 2}
    assert profile.per_class == {"test": {}, "train": {"a": 2}}


def test_the_committed_sample_is_balanced_and_has_the_known_moments(sample, tmp_path):
    ingested = ingest_source(fashion(sample), datasets=tmp_path)
    profile = snapshot_profile(ingested.snapshot.path)
    assert ingested.snapshot.rows == {"test": 500, "train": 2000}
    assert profile.content["channels"] == 1
    assert set(profile.per_class["train"].values()) == {200}
    assert set(profile.per_class["test"].values()) == {50}
    # 0.2860 and 0.3530 are the known moments of all 60,000 training images.
    assert profile.content["mean"][0] == pytest.approx(0.2860, abs=0.01)
    assert profile.content["std"][0] == pytest.approx(0.3530, abs=0.01)


def test_what_travels_between_tasks_survives_json(folder, tmp_path):
    ingested = ingest_source(pets(folder), datasets=tmp_path / "home")
    assert type(ingested).model_validate_json(ingested.model_dump_json()) == ingested


def test_blobs_are_stored_plain_in_row_groups_of_at_most_1024(sample, tmp_path):
    snapshot = ingest_source(fashion(sample), datasets=tmp_path).snapshot
    metadata = pq.ParquetFile(snapshot.path / "train" / "part-00000.parquet").metadata
    assert [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)] == [1024, 976]
    image = metadata.row_group(0).column(1)
    assert (image.path_in_schema, image.compression, image.has_dictionary_page) == ("image", "UNCOMPRESSED", False)
    assert not image.is_stats_set


def test_large_images_are_spread_over_row_groups_and_files(folder, tmp_path, monkeypatch):
    from cl_core.data.ingest import row_group_writer as module

    size = (folder / "cat" / "1.png").stat().st_size
    monkeypatch.setattr(module, "GROUP_BYTES", 3 * size)
    monkeypatch.setattr(module, "FILE_BYTES", 6 * size)
    snapshot = ingest_source(pets(folder, test_share=0.001), datasets=tmp_path / "home").snapshot
    files = sorted((snapshot.path / "train").iterdir())
    assert [pq.ParquetFile(file).metadata.num_rows for file in files] == [6] * 6 + [4]
    assert all(pq.ParquetFile(file).metadata.row_group(0).num_rows == 3 for file in files)
    assert sum(len(group) for group in row_groups(snapshot, "train")) == 40


def test_an_unknown_option_of_the_source_is_named_with_its_path(folder, tmp_path):
    with pytest.raises(
        SpecError, match=r"data.source_options.lables: there is no such option; choose from: label_from"
    ):
        ingest_source(pets(folder, source_options={"lables": "none"}), datasets=tmp_path / "home")


def test_nothing_in_the_manifest_depends_on_time_or_host(folder, tmp_path):
    snapshot = ingest_source(pets(folder), datasets=tmp_path / "home").snapshot
    manifest = json.loads((snapshot.path / "manifest.json").read_text())
    fields = {"files", *SnapshotProfile.model_fields} - {"groups", "modality", "content", "payload_bytes"}
    assert set(manifest) == fields | {"image_bytes", "channels", "mean", "std", "sizes", "distinct_sizes"}
