"""How many inputs a source has, and a few of its images again by their ids."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.sources import RawSample
from cl_core.errors import DataError
from cl_core.registry import SOURCES
from cl_core.specs import DataSpec

COUNT = 40


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The same images as made up, in a folder, in Parquet with several row groups, and in a snapshot."""
    root = tmp_path_factory.mktemp("places")
    options = {"count": COUNT, "size": 8}
    samples = list(SOURCES.build("synthetic", options, field="").samples(""))
    (root / "files").mkdir()
    for number, sample in enumerate(samples):
        (root / "files" / f"{number}.png").write_bytes(sample.payload)
    table = pa.table({"image": [sample.payload for sample in samples]})
    pq.write_table(table, root / "images.parquet", row_group_size=7)
    spec = DataSpec(name="shapes", source="synthetic", source_options=options)
    return {
        "synthetic": (options, ""),
        "image_folder": ({}, str(root / "files")),
        "parquet": ({}, str(root / "images.parquet")),
        "snapshot": ({}, str(ingest_source(spec, datasets=root / "datasets").snapshot.path)),
    }


@pytest.mark.parametrize("name", ["synthetic", "image_folder", "parquet", "snapshot"])
def test_a_source_counts_its_inputs_and_finds_a_few_again(places, name):
    options, location = places[name]
    source = SOURCES.build(name, options, field="")
    samples = [sample for sample in source.samples(location) if isinstance(sample, RawSample)]
    assert source.number_of_inputs(location) == len(samples) == COUNT
    some = {hashlib.sha256(sample.payload).digest(): sample for sample in samples[3:30:8]}
    wanted = {key: sample.origin for key, sample in some.items()}
    lost = {b"0" * 32: samples[5].origin, b"1" * 32: "nowhere.png"}
    assert source.find(location, wanted | lost) == {key: sample.payload for key, sample in some.items()}


def test_of_a_snapshot_one_split_can_be_read(places):
    _, location = places["snapshot"]
    counts = {}
    for splits in ("train", "test", "both"):
        source = SOURCES.build("snapshot", {"splits": splits}, field="")
        counts[splits] = source.number_of_inputs(location)
        assert len(list(source.samples(location))) == counts[splits]
    assert counts["train"] + counts["test"] == counts["both"] and counts["test"] > 0


def test_a_folder_without_a_snapshot_is_refused_with_what_to_give(tmp_path):
    with pytest.raises(DataError, match=r"is not a snapshot; give its folder, datasets/NAME/DIGEST under"):
        SOURCES.build("snapshot", {}, field="").fingerprint(str(tmp_path))


def test_a_snapshot_ingested_again_is_the_same_snapshot(places, tmp_path):
    """Its splits are kept, so that labels, splits and content, and with them the digest, are the same."""
    _, location = places["snapshot"]
    again = ingest_source(DataSpec(name="again", source="snapshot", location=location), datasets=tmp_path).snapshot
    assert again.digest == location.rpartition("/")[2]
