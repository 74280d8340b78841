"""A modality with two columns, from payloads to previews: necklaces have a clasp and a string of beads."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modalities import cases
from modalities.cases import Given, GivenByName
from modalities.test_contract import job_of, modality_of, prepared

from cl_core.columns import Column, RaggedColumn
from cl_core.data.cache import build_cache, load_split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.snapshot import row_groups
from cl_core.data.sources.snapshot import SnapshotFolder
from cl_core.embedding.embeddings_file import read_metadata
from cl_core.embedding.search import file_query, find_payloads, nearest_rows
from cl_core.embedding.writer import FinishedModel, write_embeddings
from cl_core.evaluation import representations
from cl_core.modalities import Modality, Rejected, joined, parts_of
from cl_core.modalities._model_input import ModelInput
from cl_core.refs import SnapshotRef
from cl_core.registry import MODALITIES
from cl_core.report.search_page import search_page
from cl_core.specs import DataSpec, SourceSpec


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_parts_are_found_again_in_a_payload_and_a_payload_of_one_part_is_that_part(parts: list[bytes]) -> None:
    assert parts_of(joined(parts), len(parts)) == tuple(parts)
    assert joined(parts[:1]) == parts[0]


def test_lengths_are_eight_bytes_before_the_parts() -> None:
    assert joined([b"ab", b"", b"xyz"]) == bytes([2, *[0] * 7, *[0] * 8]) + b"abxyz"


@given(st.binary(max_size=40), st.integers(1, 4))
def test_any_bytes_are_so_many_parts_or_rejected(payload: bytes, count: int) -> None:
    lengths = [int.from_bytes(payload[8 * number : 8 * number + 8], "little") for number in range(count - 1)]
    if 8 * (count - 1) + sum(lengths) <= len(payload):
        assert joined(parts_of(payload, count)) == payload
        return
    with pytest.raises(Rejected, match=f"its {len(payload)} bytes do not hold {count} parts"):
        parts_of(payload, count)


@pytest.fixture
def necklaces(plugin: None) -> cases.Case:
    return cases.necklace()


@pytest.fixture
def snapshot(necklaces: cases.Case, tmp_path: Path) -> SnapshotRef:
    return prepared(necklaces, tmp_path)[0]


def payloads_of(snapshot: SnapshotRef, split: str) -> dict[bytes, bytes]:
    return {row.id: row.payload for rows in row_groups(snapshot, split) for row in rows}


def test_a_snapshot_has_a_column_for_each_part_between_id_and_label(
    necklaces: cases.Case, snapshot: SnapshotRef
) -> None:
    wanted = {hashlib.sha256(payload).digest(): payload for payload, _ in necklaces.samples}
    read = payloads_of(snapshot, "train") | payloads_of(snapshot, "test")
    assert len(read) == 240 and read == wanted
    table = pq.read_table(next((snapshot.path / "test").glob("*.parquet")))
    assert table.column_names == ["id", "clasp", "bead", "label", "group"]
    for row in table.to_pylist():
        assert wanted[row["id"]] == (12).to_bytes(8, "little") + row["clasp"] + row["bead"]


def test_the_cache_has_the_arrays_of_each_column_in_files_of_their_own(
    necklaces: cases.Case, snapshot: SnapshotRef, tmp_path: Path
) -> None:
    modality = modality_of(necklaces)
    cache = build_cache(snapshot, modality, caches=tmp_path / "caches")
    assert cache.name == f"{snapshot.digest}-3+12"
    names = ["bead.offsets", "bead.values", "clasp", "group", "id", "identity", "label"]
    assert sorted(path.name for path in cache.glob("test.*")) == [f"test.{name}.npy" for name in names]
    split, payloads = load_split(cache, "train"), payloads_of(snapshot, "train")
    assert list(split.columns.by_name) == ["clasp", "bead"] and len(split.columns) == len(split) == len(payloads)
    clasps, beads = split.columns.by_name.values()
    assert isinstance(clasps, Column) and isinstance(beads, RaggedColumn)
    assert (clasps.values.dtype, beads.values.dtype) == (np.float32, np.uint8)
    for number, sample in enumerate(split.ids):
        _, clasp, string = payloads[sample.tobytes()][:8], *parts_of(payloads[sample.tobytes()], 2)
        assert clasps.values[number].tobytes() == clasp
        assert beads.values[beads.offsets[number] : beads.offsets[number + 1]].tobytes() == string
    assert np.isin(beads.values, np.frombuffer(b"abcdefghmnopqrst", np.uint8)).all()
    # Taken, selected and read in blocks, columns keep together.
    picked = split.select(np.array([7, 3, 99])).columns
    for part, column in zip(picked.take(slice(1, None)), (clasps, beads), strict=True):
        np.testing.assert_array_equal(part, column.take(np.array([3, 99])))
    for parts, column in zip(zip(*split.columns.blocks(50), strict=True), (clasps, beads), strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), column.take(slice(None)))


@pytest.mark.integration
def test_two_workers_write_the_same_bytes(necklaces: cases.Case, snapshot: SnapshotRef, tmp_path: Path) -> None:
    caches = [
        build_cache(snapshot, modality_of(necklaces), caches=tmp_path / str(workers), workers=workers)
        for workers in (1, 2)
    ]
    files = sorted(path.name for path in caches[0].glob("*.npy"))
    assert len(files) == 14
    assert [(caches[0] / name).read_bytes() for name in files] == [(caches[1] / name).read_bytes() for name in files]


def test_a_split_without_samples_has_columns_without_rows(necklaces: cases.Case, tmp_path: Path) -> None:
    Given.payloads = [(payload, label, "train") for payload, label in necklaces.samples]
    spec = DataSpec(name="given", source="given", modality="necklace")
    snapshot = ingest_source(spec, datasets=tmp_path / "datasets").snapshot
    empty = load_split(build_cache(snapshot, modality_of(necklaces), caches=tmp_path), "test")
    assert [part.shape for part in empty.columns.take(slice(None))] == [(0, 3), (0, 12)]


def test_a_snapshot_is_a_source_of_itself(necklaces: cases.Case, snapshot: SnapshotRef, tmp_path: Path) -> None:
    spec = DataSpec(name="again", source="snapshot", location=str(snapshot.path), modality="necklace")
    assert ingest_source(spec, datasets=tmp_path / "again").snapshot.digest == snapshot.digest
    wanted = dict(list(payloads_of(snapshot, "test").items())[::9])
    source = SnapshotFolder().delivering("necklace")
    assert source.find(str(snapshot.path), dict.fromkeys([*wanted, bytes(32)], "")) == wanted


def test_unchanged_inputs_are_not_opened_again(necklaces: cases.Case, tmp_path: Path) -> None:
    spec = DataSpec(name="given", source="given_by_name", modality="necklace")
    for count, opened in ((50, 50), (60, 10)):
        GivenByName.payloads = [(payload, label, "train") for payload, label in necklaces.samples[:count]]
        GivenByName.opened = []
        snapshot = ingest_source(spec, datasets=tmp_path).snapshot
        assert len(GivenByName.opened) == opened
        wanted = {hashlib.sha256(payload).digest(): payload for payload, _, _ in GivenByName.payloads}
        assert payloads_of(snapshot, "train") == wanted


def test_a_dataset_is_embedded_and_searched(necklaces: cases.Case, tmp_path: Path) -> None:
    job = job_of(necklaces, tmp_path)
    untrained = representations.untrained(job)

    def embed(rows: tuple[np.ndarray, ...]) -> np.ndarray:
        features = untrained.embed(rows)
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    Given.payloads = [(payload, label, "") for payload, label in necklaces.samples]
    Given.payloads += [(payload, "", "") for payload in necklaces.hostile]
    model, output = FinishedModel("necklaces", 1, "1" * 64, job.model_input, embed), tmp_path / "embeddings.parquet"
    result = write_embeddings(model, SourceSpec(source="given"), output)
    assert (result.metadata.rows, result.metadata.quarantined) == (240, len(necklaces.hostile))
    assert read_metadata(output).takes == ModelInput(modality="necklace", shapes=((3,), (12,)))
    payload, label = necklaces.samples[17]
    clasp, string = parts_of(payload, 2)
    file = tmp_path / "query.txt"
    file.write_text(" ".join([*map(repr, np.frombuffer(clasp, "<f4").tolist()), string.decode()]))
    query = file_query(file, job.model_input)
    assert [part.shape for part in query.row] == [(1, 3), (1, 12)] and query.name == "query.txt"
    hits = nearest_rows(embed(query.row)[0], output, count=3)
    assert (hits[0].row.origin, hits[0].row.label) == ("given#17", label) and hits[0].cosine > 0.999999
    facts = read_metadata(output)
    found = find_payloads((hit.row for hit in hits), facts.data, facts.takes.modality)
    assert found[hits[0].row.id] == payload
    page = search_page(query, output, read_metadata(output), hits, found)
    assert page.count(string.decode()) >= 2


def test_what_is_stored_of_one_column_is_read_as_it_was_written_before() -> None:
    stored = '{"modality": "image", "shape": [28, 28, 3], "hidden": {}}'
    assert ModelInput.model_validate_json(stored) == ModelInput(shapes=((28, 28, 3),))


def test_every_column_has_a_name_of_its_own(plugin: None) -> None:
    for name in MODALITIES.names():
        modality: Modality = MODALITIES.build(name, {}, field="modality")
        names = [kind.name for kind in modality.columns]
        assert len({*names, "id", "label", "group", "identity"}) == len(names) + 4
        assert all(kind.name.isidentifier() for kind in modality.columns)
