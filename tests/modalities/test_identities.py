"""Samples that are the same thing although their contents differ: necklaces with the same beads."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from modalities import cases
from modalities.cases import Given, GivenByName
from modalities.test_contract import job_of
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from cl_core.data.cache import build_cache, load_split
from cl_core.data.connected import links, merged
from cl_core.data.ingest.pipeline import IngestResult, ingest_source
from cl_core.data.sampling import hold_out
from cl_core.data.snapshot import row_groups, snapshot_profile
from cl_core.data.validation import validate_snapshot
from cl_core.methods import StepInfo
from cl_core.modalities import joined, parts_of
from cl_core.refs import SnapshotRef
from cl_core.specs import DataSpec
from cl_core.training.feed import Feed


def spec_of(source: str = "given") -> DataSpec:
    return DataSpec(name="given", source=source, modality="necklace", test_share=0.3, min_train_samples=2)


def necklace(clasp: float, beads: str) -> bytes:
    return joined((np.full(3, clasp, "<f4").tobytes(), beads.encode()))


def ingested(samples: list[tuple[bytes, str, str]], folder: Path) -> IngestResult:
    Given.payloads = samples
    return ingest_source(spec_of(), datasets=folder)


def beads_of(snapshot: SnapshotRef, split: str) -> list[bytes]:
    return [parts_of(row.payload, 2)[1] for rows in row_groups(snapshot, split) for row in rows]


def test_members_with_a_key_in_common_are_connected_as_another_library_says() -> None:
    rng = np.random.default_rng(0)
    owners, keys = rng.integers(0, 400, 500), rng.integers(0, 600, 500).astype(np.uint64)
    found = merged(np.arange(400), *links(owners, keys))
    edges = coo_matrix((np.ones(500), (owners, 400 + keys.astype(int))), shape=(1000, 1000))
    _, labels = connected_components(edges, directed=False)
    least = {label: np.flatnonzero(labels[:400] == label)[0] for label in set(labels[:400].tolist())}
    assert found.tolist() == [least[label] for label in labels[:400].tolist()]
    assert 100 < len(set(found.tolist())) < 400


def test_where_splits_are_drawn_the_same_thing_is_in_one_split(plugin: None, tmp_path: Path) -> None:
    """200 strings of beads, each with one to six clasps; the splits are shares of strings, not of necklaces."""
    strings = [f"{number:03d}" for number in range(200)]
    samples = [
        (necklace(clasp, string), "ab"[clasp % 2], "")
        for number, string in enumerate(strings)
        for clasp in range(1 + number % 6)
    ]
    result = ingested(samples, tmp_path)
    splits = [set(beads_of(result.snapshot, split)) for split in ("train", "test")]
    assert not splits[0] & splits[1] and len(splits[0] | splits[1]) == 200
    # Binomial, 200 draws of 0.3: six standard deviations are 39.
    assert abs(len(splits[1]) - 60) < 39
    groups = snapshot_profile(result.snapshot.path).groups
    assert groups is not None and (groups.number, groups.largest, groups.unnamed) == (200, 6, 0)
    assert "200 groups" in result.reason
    # Nor does a later necklace with these beads change their split.
    more = ingested([*samples, *((necklace(9, string), "a", "") for string in strings)], tmp_path).snapshot
    assert [set(beads_of(more, split)) for split in ("train", "test")] == splits
    assert sum(more.rows.values()) == len(samples) + 200


@pytest.fixture
def crossing(plugin: None) -> list[tuple[bytes, str, str]]:
    """The source names the splits: the beads of "shared" are in both, once as the very same necklace."""
    return [
        (necklace(0, "shared"), "a", "test"),
        (necklace(0, "shared"), "a", "train"),
        (necklace(1, "shared"), "a", "train"),
        (necklace(2, "shared"), "b", "train"),
        (necklace(2, "shared"), "b", "train"),
        *((necklace(clasp, f"own{clasp}"), "ab"[clasp % 2], "train") for clasp in range(6)),
        *((necklace(clasp, f"test{clasp}"), "ab"[clasp % 2], "test") for clasp in range(4)),
    ]


def test_a_training_sample_that_is_the_same_thing_as_a_test_sample_is_quarantined(
    crossing: list[tuple[bytes, str, str]], tmp_path: Path
) -> None:
    snapshot = ingested(crossing, tmp_path / "datasets").snapshot
    assert snapshot.rows == {"train": 6, "test": 5}
    assert b"shared" not in beads_of(snapshot, "train") and b"shared" in beads_of(snapshot, "test")
    quarantined = {row["origin"]: row for row in pq.read_table(snapshot.path / "quarantine.parquet").to_pylist()}
    assert sorted(quarantined) == ["given#1", "given#2", "given#3", "given#4"]
    assert {row["reason"] for row in quarantined.values()} == {"in_test_split"}
    tested = next(row.id for rows in row_groups(snapshot, "test") for row in rows if b"shared" in row.payload)
    assert "the test split has the same necklace: given#0" in quarantined["given#1"]["detail"]
    for origin in ("given#2", "given#3", "given#4"):
        assert quarantined[origin]["detail"] == (
            f"it has a part in common with necklace {tested.hex()} of the test split, so it is not trained on"
        )
    profile = snapshot_profile(snapshot.path)
    assert (profile.inputs, profile.duplicates, profile.leaked) == (15, 0, 3)
    cache = build_cache(snapshot, spec_of().built_modality, caches=tmp_path / "caches")
    report = validate_snapshot(snapshot, cache, spec_of())
    assert report.copies_of_test == 4 and "given#2" in report.copied_origins


def test_what_is_quarantined_so_is_found_again_when_only_new_inputs_are_read(
    crossing: list[tuple[bytes, str, str]], tmp_path: Path
) -> None:
    spec = spec_of("given_by_name")
    once = {payload: sample for payload, *sample in crossing}  # Named by their content: no copies.
    listed = [(payload, *sample) for payload, sample in once.items()]
    for samples, opened in ((listed, len(listed)), ([*listed, (necklace(7, "new"), "a", "train")], 1)):
        GivenByName.opened, GivenByName.payloads = [], samples
        snapshot = ingest_source(spec, datasets=tmp_path).snapshot
        assert len(GivenByName.opened) == opened
        assert snapshot.digest == ingested(samples, tmp_path / f"all-{opened}").snapshot.digest
    # Without the test sample they are trained on: their payloads come from what was set aside.
    GivenByName.opened, GivenByName.payloads = [], listed[1:]
    snapshot = ingest_source(spec, datasets=tmp_path).snapshot
    assert GivenByName.opened == [] and beads_of(snapshot, "train").count(b"shared") == 2


def test_the_cache_knows_which_samples_are_the_same_thing(plugin: None, tmp_path: Path) -> None:
    job = job_of(cases.necklace(), tmp_path)
    split = load_split(job.cache, "train")
    first: dict[bytes, int] = {}
    _, strings = split.columns.take(slice(None))
    for string, sample in zip(strings, split.sample_ids.tolist(), strict=True):
        first.setdefault(string.tobytes(), sample)
    wanted = [first[string.tobytes()] for string in strings]
    assert split.identities is not None and split.identities.tolist() == wanted
    # 40 of the 160 have the beads of another one.
    assert len(set(wanted)) == 120 and split.identities.dtype == np.uint64
    assert split.select(np.array([5, 2])).identities.tolist() == [wanted[5], wanted[2]]
    feed = Feed(split, job, job.parts.views, job.processor, "cpu")
    positions = np.arange(0, 160, 3)
    samples = feed.samples(positions, moment=StepInfo())
    assert samples.groups.numpy().astype(np.uint64).tolist() == [wanted[place] for place in positions]
    assert samples.ids.numpy().astype(np.uint64).tolist() == split.sample_ids[positions].tolist()


def test_what_is_held_out_of_training_is_no_same_thing_as_what_is_trained_on(plugin: None, tmp_path: Path) -> None:
    split = load_split(job_of(cases.necklace(), tmp_path).cache, "train")
    trained, held_out = hold_out(split, 0.2)
    assert held_out is not None and 20 < len(held_out) <= 32
    assert not set(trained.identities.tolist()) & set(held_out.identities.tolist())


def test_samples_of_a_modality_without_identities_are_each_their_own(plugin: None, tmp_path: Path) -> None:
    job = job_of(cases.vector(), tmp_path)
    split = load_split(job.cache, "train")
    assert split.identities is None and not list(job.cache.glob("*.identity.npy"))
    samples = Feed(split, job, job.parts.views, job.processor, "cpu").samples(np.arange(9), moment=StepInfo())
    assert samples.identities is None and samples.groups is samples.ids
