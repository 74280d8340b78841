"""Groups that no split parts: patients, folders, near-duplicates."""

import hashlib
import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError
from scipy import stats

from cl_core.data import near_duplicates as near_duplicates_module
from cl_core.data.cache import build_cache, load_split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.ingest.split_groups import SplitGroups
from cl_core.data.sampling import hold_out
from cl_core.data.snapshot import open_snapshot, snapshot_profile
from cl_core.data.sources import RawSample
from cl_core.data.validation import validate_snapshot
from cl_core.errors import DataError
from cl_core.hashing import digest_of
from cl_core.modalities.image import Images
from cl_core.refs import SnapshotRef
from cl_core.specs import DataSpec, GroupRule


@pytest.fixture
def patients(tmp_path, picture):
    """A folder of 30 patients with 1 to 5 pictures each: CLASS/PATIENT/NUMBER_PATIENT.png."""
    root, number = tmp_path / "patients", 0
    for patient in range(30):
        for shot in range(1 + patient % 5):
            path = root / ("ill" if shot % 2 else "well") / f"p{patient:02d}" / f"{number}_p{patient:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(number))
            number += 1
    return root


def spec_of(folder, **changes) -> DataSpec:
    return DataSpec(name="scans", source="image_folder", location=str(folder), **{"test_share": 0.3, **changes})


def splits_of(snapshot: SnapshotRef) -> dict[str, str]:
    """Where each input went, by its origin."""
    table = pq.read_table(snapshot.path / "sources.parquet")
    return dict(zip(table["origin"].to_pylist(), table["split"].to_pylist(), strict=True))


def patient_of(origin: str) -> str:
    return origin.split("/")[1]


def splits_by_patient(snapshot: SnapshotRef) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for origin, split in splits_of(snapshot).items():
        found.setdefault(patient_of(origin), set()).add(split)
    return found


@pytest.mark.parametrize("group", ["folder:2", "folder:-1", r"pattern:_(p\d+)\.png$"])
def test_the_hash_of_its_name_puts_a_group_into_one_split(patients, tmp_path, group):
    snapshot = ingest_source(spec_of(patients, group=group), datasets=tmp_path / "home").snapshot
    for patient, splits in splits_by_patient(snapshot).items():
        draw = int(hashlib.sha256(f"group {patient}".encode()).hexdigest()[:16], 16) / 2**64
        assert splits == {"test" if draw < 0.3 else "train"}


def test_a_column_of_a_table_names_the_group_and_null_is_a_group_of_its_own(tmp_path, picture):
    patients = ["a", "a", "a", "b", "b", None, "", "c", "c"]
    path = tmp_path / "scans.parquet"
    pq.write_table(pa.table({"image": [picture(i) for i in range(9)], "patient": patients}), path)
    spec = DataSpec(name="scans", source="parquet", location=str(path), group="column:patient", test_share=0.4)
    ingested = ingest_source(spec, datasets=tmp_path / "home")
    splits = splits_of(ingested.snapshot)
    for row, patient in enumerate(patients):
        content = hashlib.sha256(picture(row)).hexdigest()
        key = hashlib.sha256(f"group {patient}".encode()).hexdigest() if patient else content
        assert splits[f"scans.parquet#{row}"] == ("test" if int(key[:16], 16) / 2**64 < 0.4 else "train")
    groups = snapshot_profile(ingested.snapshot.path).groups
    assert (groups.number, groups.largest, groups.unnamed) == (5, 3, 2)
    assert "5 groups (" in ingested.reason
    assert "the largest has 3 samples; 2 inputs without a group, each by itself)" in ingested.reason


@pytest.mark.parametrize(
    ("type_", "values", "names"),
    [
        (pa.int64(), [7, 7, None], {"7"}),
        (pa.float64(), [7.0, 7.0, float("nan")], {"7"}),
        (pa.binary(), [b"x", b"x", b""], {"x"}),
        (pa.dictionary(pa.int8(), pa.string()), ["x", "x", None], {"x"}),
    ],
)
def test_columns_of_other_types_name_groups_by_their_text(tmp_path, type_, values, names):
    from cl_core.data.sources.parquet import ParquetFiles

    path = tmp_path / "scans.parquet"
    pq.write_table(pa.table({"image": [b"1", b"2", b"3"], "patient": pa.array(values, type_)}), path)
    groups = [sample.group for sample in ParquetFiles().grouped_by("patient").samples(str(path))]
    assert groups == [*names, *names, None]


def test_a_folder_of_a_partition_names_the_group_as_a_column_does(tmp_path):
    from cl_core.data.sources.parquet import ParquetFiles

    for patient in ("7", "8%2F9"):
        path = tmp_path / f"patient={patient}" / "0000.parquet"
        path.parent.mkdir()
        pq.write_table(pa.table({"image": [b"1", b"2"]}), path)
    groups = [sample.group for sample in ParquetFiles().grouped_by("patient").samples(str(tmp_path))]
    assert groups == ["7", "7", "8/9", "8/9"]


def drawn(names: list[str], *, share: float, seed: int = 0) -> list[str]:
    """The splits of one sample of each group."""
    groups, rng = SplitGroups(spec_of("", group="folder:1", test_share=share)), np.random.default_rng(seed)
    samples = [rng.bytes(32) for _ in names]
    for sample, name in zip(samples, names, strict=True):
        groups.add(sample, RawSample(b"", None, "", f"{name}/x.png"), None)
    result = groups.draw()
    return [result.of(sample).split for sample in samples]


def test_over_many_groups_the_test_split_has_its_share():
    splits = drawn([f"patient {number}" for number in range(4000)], share=0.2)
    assert stats.binomtest(splits.count("test"), 4000, 0.2).pvalue > 0.001


def test_groups_linked_by_near_duplicates_are_drawn_as_often_as_single_ones():
    """The least of several hashes would be in the test split too often."""
    spec, rng = spec_of("", near_duplicates_together=True, test_share=0.2), np.random.default_rng(0)
    groups, samples = SplitGroups(spec), []
    for _ in range(3000):
        look = rng.bytes(8)
        for _ in range(4):
            samples.append(rng.bytes(32))
            groups.add(samples[-1], RawSample(b"", None, "", "x.png"), look)
    result = groups.draw()
    splits = [{result.of(sample).split for sample in samples[start : start + 4]} for start in range(0, 12_000, 4)]
    assert len(result) == 3000
    assert all(len(one) == 1 for one in splits)
    assert stats.binomtest(splits.count({"test"}), 3000, 0.2).pvalue > 0.001


def test_random_links_end_in_the_components_that_a_search_finds():
    rng = np.random.default_rng(4)
    groups = SplitGroups(spec_of("", group="folder:1", near_duplicates_together=True, test_share=0.5))
    contents, names = [rng.bytes(32) for _ in range(150)], [f"g{n}" for n in range(90)]
    looks = [rng.bytes(8) for _ in range(60)]
    inputs = [(int(c), int(n), int(looks_at)) for c, n, looks_at in rng.integers(0, [150, 90, 60], (170, 3))]
    look_of = {content: look for content, _, look in reversed(inputs)}  # A content has one look.
    neighbors: dict[object, set[object]] = {}
    for content, name, _ in inputs:
        groups.add(contents[content], RawSample(b"", None, "", f"{names[name]}/x.png"), looks[look_of[content]])
        for other in (("name", name), ("look", look_of[content])):
            neighbors.setdefault(("content", content), set()).add(other)
            neighbors.setdefault(other, set()).add(("content", content))
    result = groups.draw()
    seen: dict[object, int] = {}
    for number, start in enumerate(neighbors):
        stack = [start]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen[node] = number
                stack.extend(neighbors[node])
    searched = {content: seen["content", content] for content, _, _ in inputs}
    found = {content: result.of(contents[content]).number for content, _, _ in inputs}
    assert len({(searched[content], found[content]) for content in found}) == len(set(searched.values())) == len(result)
    assert len({result.of(contents[content]).split for content in found}) == 2


def test_more_samples_and_more_groups_move_no_sample_to_another_split(patients, tmp_path, picture):
    first = splits_by_patient(ingest_source(spec_of(patients, group="folder:2"), datasets=tmp_path / "home").snapshot)
    for patient in range(20, 60):
        folder = patients / "well" / f"p{patient:02d}"
        folder.mkdir(exist_ok=True)
        (folder / "new.png").write_bytes(picture(1000 + patient))
    ingested = ingest_source(spec_of(patients, group="folder:2"), datasets=tmp_path / "home")
    second = splits_by_patient(ingested.snapshot)
    assert len(second) == 60
    assert "40 read" in ingested.reason
    assert {patient: second[patient] for patient in first} == first
    assert all(len(splits) == 1 for splits in second.values())


def test_groups_with_a_copy_of_one_image_are_one_group(patients, tmp_path):
    shutil.copy(next((patients / "well" / "p00").iterdir()), patients / "well" / "p29" / "copy.png")
    joined = ingest_source(spec_of(patients, group="folder:2", test_share=0.5), datasets=tmp_path / "home").snapshot
    splits = splits_by_patient(joined)
    assert splits["p00"] == splits["p29"]
    assert snapshot_profile(joined.path).groups.number == 29
    assert snapshot_profile(joined.path).leaked == 0


def test_the_order_of_inputs_and_the_number_of_workers_change_nothing(patients, tmp_path):
    spec = spec_of(patients, group="folder:2", near_duplicates_together=True, image_size=12)
    one = ingest_source(spec, datasets=tmp_path / "one").snapshot
    two = ingest_source(spec, datasets=tmp_path / "two", workers=2, run_bytes=1).snapshot
    assert one.digest == two.digest
    rng = np.random.default_rng(0)
    samples = [(rng.bytes(32), f"g{n % 7}/{n}.png", rng.bytes(8)) for n in range(40)]
    tags = []
    for order in (samples, samples[::-1]):
        groups = SplitGroups(spec)
        for sample, origin, look in order:
            groups.add(sample, RawSample(b"", None, "", f"x/{origin}"), look)
        drawn_groups = groups.draw()
        tags.append([(drawn_groups.of(sample).tag, drawn_groups.of(sample).split) for sample, _, _ in samples])
    assert tags[0] == tags[1]


def picture_like(number: int, *, brighter: int) -> bytes:
    """A picture of a few waves; brighter, it has other bytes and looks the same."""
    rng = np.random.default_rng(number)
    row, column = np.mgrid[0:24, 0:24] / 24
    waves = sum(
        rng.normal() * np.cos(np.pi * (k * row + m * column) + rng.uniform(0, 6)) for k in range(4) for m in range(4)
    )
    file = io.BytesIO()
    pixels = 40 + 150 * (waves - waves.min()) / np.ptp(waves) + brighter
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_near_duplicates_are_kept_together_and_validation_finds_none_across_the_splits(tmp_path):
    folder = tmp_path / "waves"
    folder.mkdir()
    for number in range(40):
        for brighter in range(3):
            (folder / f"{number}-{brighter}.png").write_bytes(picture_like(number, brighter=10 * brighter))
    options = {"test_share": 0.3, "min_train_samples": 2, "image_size": 24}
    counts = {}
    for together in (False, True):
        spec = spec_of(folder, near_duplicates_together=together, **options)
        snapshot = ingest_source(spec, datasets=tmp_path / "home").snapshot
        report = validate_snapshot(snapshot, build_cache(snapshot, Images(size=24), caches=tmp_path / "caches"), spec)
        counts[together] = report.near_duplicates.test_samples
    assert counts[False] > 20
    assert counts[True] == 0
    assert snapshot_profile(snapshot.path).groups.number == 40


def test_images_without_near_duplicates_are_split_as_without_the_option(patients, tmp_path):
    plain = ingest_source(spec_of(patients, image_size=12), datasets=tmp_path / "home").snapshot
    together = ingest_source(
        spec_of(patients, image_size=12, near_duplicates_together=True), datasets=tmp_path / "home"
    ).snapshot
    assert snapshot_profile(together.path).groups.largest == 1
    assert splits_of(together) == splits_of(plain)


def test_an_unchanged_image_is_not_opened_again_to_see_what_it_looks_like(patients, tmp_path):
    spec = spec_of(patients, near_duplicates_together=True, image_size=12)
    ingest_source(spec, datasets=tmp_path / "home")
    shutil.copytree(patients / "well" / "p04", patients / "well" / "p99")
    again = ingest_source(spec, datasets=tmp_path / "home")
    fresh = ingest_source(spec, datasets=tmp_path / "fresh").snapshot
    assert "3 read, 90 unchanged" in again.reason
    assert again.snapshot.digest == fresh.digest


def test_splits_that_the_source_names_are_kept_and_a_group_in_both_is_counted(tmp_path, picture):
    for number, name in enumerate(["train/cat/p1", "test/cat/p1", "train/cat/p2", "train/dog/p3", "test/dog/p4"]):
        path = tmp_path / "in" / name / "1.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(picture(number))
    snapshot = ingest_source(spec_of(tmp_path / "in", group="folder:3"), datasets=tmp_path / "home").snapshot
    assert all(split == origin.split("/")[0] for origin, split in splits_of(snapshot).items())
    groups = snapshot_profile(snapshot.path).groups
    assert (groups.number, groups.splits, groups.parted) == (4, {"train": 3, "test": 2}, 1)
    assert groups.parted_origins == [("train/cat/p1/1.png", "test/cat/p1/1.png")]
    assert not groups.drawn


def test_a_sample_without_a_split_follows_its_group():
    groups, rng = SplitGroups(spec_of("", group="folder:1", test_share=0.5)), np.random.default_rng(0)
    samples = {
        (name, split): rng.bytes(32)
        for name in map(str, range(20))
        for split in ("", "test" if name < "1" else "train")
    }
    for (name, split), sample in samples.items():
        groups.add(sample, RawSample(b"", None, split, f"{name}/x.png"), None)
    result = groups.draw()
    assert all(result.of(sample).split == ("test" if name < "1" else "train") for (name, _), sample in samples.items())


def test_held_out_samples_are_whole_groups_and_at_most_the_share(patients, tmp_path):
    snapshot = ingest_source(spec_of(patients, group="folder:2"), datasets=tmp_path / "home").snapshot
    split = load_split(build_cache(snapshot, Images(size=8), caches=tmp_path), "train")
    rows = len(split.ids)
    trained, held_out = hold_out(split, 0.2)
    assert held_out is not None and trained.groups is not None and held_out.groups is not None
    assert not set(trained.groups.tolist()) & set(held_out.groups.tolist())
    assert len(trained.ids) + len(held_out.ids) == rows
    assert rows * 0.2 - 5 < len(held_out.ids) <= rows * 0.2  # No patient has more than 5.


def test_all_groups_on_one_side_are_refused(tmp_path, picture):
    for number in range(12):
        path = tmp_path / "in" / "only" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    for share, split, change in ((0.01, "training", "raise"), (0.99, "test", "lower")):
        spec = spec_of(tmp_path / "in", group="folder:1", test_share=share, min_train_samples=2)
        snapshot = ingest_source(spec, datasets=tmp_path / "home").snapshot
        cache = build_cache(snapshot, Images(size=12), caches=tmp_path / "caches")
        wanted = (
            rf"all 1 groups are drawn into the {split} split, the largest with 12 samples; {change} data.test_share"
        )
        with pytest.raises(DataError, match=wanted):
            validate_snapshot(snapshot, cache, spec)


def test_a_rule_that_names_no_group_is_refused_with_an_example(patients, tmp_path):
    with pytest.raises(DataError, match=r"data.group: 'folder:3' names a group for none of the 90 inputs, for example"):
        ingest_source(spec_of(patients, group="folder:3"), datasets=tmp_path / "home")


def test_a_column_that_is_not_there_is_refused_with_those_that_are(tmp_path, picture):
    path = tmp_path / "scans.parquet"
    pq.write_table(pa.table({"image": [picture(0)], "person": ["a"], "tags": [["x"]]}), path)
    spec = {"name": "scans", "source": "parquet", "location": str(path)}
    with pytest.raises(DataError, match=r"data.group: .* has no column 'patient'; it has: image, person, tags"):
        ingest_source(DataSpec(**spec, group="column:patient"), datasets=tmp_path / "home")
    with pytest.raises(
        DataError, match=r"data.group: column 'tags' of .* is list<.*>; expected text, numbers or dates"
    ):
        ingest_source(DataSpec(**spec, group="column:tags"), datasets=tmp_path / "home")


def test_a_column_of_a_source_without_columns_is_refused(patients, tmp_path):
    with pytest.raises(DataError, match=r"data.group: the source 'image_folder' has no columns, .* 'folder:N'"):
        ingest_source(spec_of(patients, group="column:patient"), datasets=tmp_path / "home")


@pytest.mark.parametrize(
    ("group", "wanted"),
    [
        ("patient", r"expected 'column:NAME' .*, 'folder:1' .* or 'pattern:REGEX' .*; got 'patient'"),
        ("folder:0", r"expected .*; got 'folder:0'"),
        ("column:", r"expected .*; got 'column:'"),
        ("pattern:(", r"pattern '\(' is no regular expression \(.*\); correct it"),
        ("pattern:p[0-9]", r"pattern 'p\[0-9\]' has 0 pairs of parentheses; put one around"),
        ("pattern:(a)(b)", r"has 2 pairs of parentheses; .* write others as \(\?:...\)"),
    ],
)
def test_a_wrong_rule_is_refused_with_what_is_possible(group, wanted):
    with pytest.raises(ValidationError, match=wanted) as caught:
        spec_of("", group=group)
    assert caught.value.errors()[0]["loc"] == ("group",)


@pytest.mark.parametrize(
    ("rule", "origin", "group"),
    [
        ("folder:1", "a/b/c.png", "a"),
        ("folder:-1", "a/b/c.png", "b"),
        ("folder:2", "a/c.png", None),
        ("folder:-3", "a/b/c.png", None),
        ("folder:1", "c.png", None),
        (r"pattern:^(\d+)", "77/12_x.png", "12"),
        (r"pattern:^(\d*)", "77/x.png", None),
        ("column:patient", "a/c.png", None),
    ],
)
def test_a_rule_reads_the_folders_or_the_name_of_a_path(rule, origin, group):
    assert GroupRule.parse(rule).of_origin(origin) == group


def test_too_many_alike_images_are_refused_not_parted(monkeypatch):
    monkeypatch.setattr(near_duplicates_module, "_MOST_GROUPED_PAIRS", 100)
    groups, rng = SplitGroups(spec_of("", near_duplicates_together=True)), np.random.default_rng(0)
    for number in range(50):
        groups.add(rng.bytes(32), RawSample(b"", None, "", "x.png"), bytes([number, 0, 0, 0, 0, 0, 0, 0]))
    with pytest.raises(DataError, match=r"data.near_duplicates_together: too many of the 50 inputs are alike"):
        groups.draw()


def test_without_the_options_specs_and_manifests_are_those_of_before(folder, tmp_path):
    spec = DataSpec(name="pets", source="image_folder", location="/pets")
    assert json.loads(spec.model_dump_json()) == {
        "name": "pets",
        "source": "image_folder",
        "location": "/pets",
        "source_options": {},
        "image_size": 28,
        "test_share": 0.1,
        "min_train_samples": 64,
        "max_quarantined_share": 0.05,
    }
    assert digest_of(spec) == "5ae7c7894f5d7ca170686a13cbd57d74f254741b2e44cd777dadcd87766010ac"
    assert digest_of(spec.model_copy(update={"group": "folder:1"})) != digest_of(spec)
    plain = ingest_source(spec_of(folder), datasets=tmp_path / "home").snapshot
    assert "groups" not in json.loads((plain.path / "manifest.json").read_text())
    assert pq.read_schema(plain.path / "train" / "part-00000.parquet").names == ["id", "image", "label"]
    grouped = ingest_source(spec_of(folder, group="folder:1"), datasets=tmp_path / "home").snapshot
    assert grouped.digest != plain.digest
    assert open_snapshot(grouped.path) == grouped
