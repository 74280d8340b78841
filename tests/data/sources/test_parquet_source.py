import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from permissions import obeying

from cl_core.data.sources import RawSample, Unreadable
from cl_core.data.sources.parquet import ParquetFiles
from cl_core.errors import DataError


def written(path, metadata=None, **columns):
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return str(path)


def test_bytes_labels_and_splits_come_from_the_named_columns(tmp_path):
    location = written(
        tmp_path / "a.parquet", picture=[b"one", b"two"], kind=["x", ""], part=["fit", "hold"], other=[1, 2]
    )
    source = ParquetFiles(
        image_column="picture", label_column="kind", split_column="part", train_value="fit", test_value="hold"
    )
    assert list(source.samples(location)) == [
        RawSample(b"one", "x", "train", "a.parquet#0"),
        RawSample(b"two", None, "test", "a.parquet#1"),
    ]


def test_whole_number_labels_become_text_and_no_split_is_named(tmp_path):
    location = written(tmp_path / "a.parquet", image=[b"one", b"two"], label=pa.array([7, None], pa.int8()))
    samples = list(ParquetFiles(label_column="label").samples(location))
    assert [(sample.label, sample.split) for sample in samples] == [("7", ""), (None, "")]


def test_hugging_face_files_bring_structs_and_class_names(tmp_path):
    features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    location = written(
        tmp_path / "a.parquet",
        metadata={"huggingface": json.dumps(features)},
        image=[{"bytes": b"one", "path": "1.jpg"}, {"bytes": None, "path": "2.jpg"}],
        label=[1, 0],
    )
    one, two = ParquetFiles(label_column="label").samples(location)
    assert one == RawSample(b"one", "dog", "", "a.parquet#0")
    assert two == Unreadable("a.parquet#1", "column 'image' has no bytes in this row")


def test_a_folder_is_read_file_by_file(tmp_path):
    (tmp_path / "deep").mkdir()
    written(tmp_path / "b.parquet", image=[b"two"])
    written(tmp_path / "deep" / "a.parquet", image=[b"one"])
    assert {sample.payload for sample in ParquetFiles().samples(str(tmp_path))} == {b"one", b"two"}


@pytest.mark.parametrize("option", ["image_column", "label_column", "split_column"])
def test_a_missing_column_is_named_beside_those_that_exist(tmp_path, option):
    location = written(tmp_path / "a.parquet", image=[b"one"], kind=["x"])
    with pytest.raises(DataError, match=rf"source_options.{option}: .* has no column 'photo'; it has: image, kind"):
        list(ParquetFiles(**{option: "photo"}).samples(location))


def test_a_column_of_paths_is_not_taken_for_images(tmp_path):
    location = written(tmp_path / "a.parquet", image=["/a/path.jpg"])
    with pytest.raises(DataError, match=r"column 'image' of .* is string; expected binary"):
        list(ParquetFiles().samples(location))


def test_an_unknown_split_value_is_an_error(tmp_path):
    location = written(tmp_path / "a.parquet", image=[b"one"], split=["validation"])
    with pytest.raises(DataError, match=r"column 'split' is 'validation'; expected 'train' or 'test'"):
        list(ParquetFiles(split_column="split").samples(location))


def test_a_damaged_file_is_an_error(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DataError, match=r"a.parquet cannot be read as Parquet"):
        list(ParquetFiles().samples(str(tmp_path / "a.parquet")))


@pytest.mark.parametrize(
    ("location", "message"),
    [("", "data.location is empty"), ("/no/such/place", "there is no file or folder /no/such/place")],
)
def test_a_missing_place_is_an_error(location, message):
    with pytest.raises(DataError, match=message):
        ParquetFiles().fingerprint(location)


def test_a_folder_without_parquet_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"has no .parquet files"):
        ParquetFiles().fingerprint(str(tmp_path))


@pytest.mark.parametrize("closed", [".", "more", ".."], ids=["itself", "one inside", "one above"])
def test_a_folder_that_may_not_be_read_is_an_error_and_not_a_gap(tmp_path, closed):
    root = tmp_path / "above" / "export"
    (root / "more").mkdir(parents=True)
    for file in (root / "a.parquet", root / "more" / "b.parquet"):
        written(file, image=[b"one"])
    code = (
        "import sys\n"
        "from cl_core.data.sources.parquet import ParquetFiles\n"
        "try: ParquetFiles().fingerprint(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
    )
    folder = (root / closed).resolve()
    folder.chmod(0)
    try:
        done = subprocess.run(
            [*obeying(), sys.executable, "-c", code, root], capture_output=True, text=True, check=True
        )
    finally:
        folder.chmod(0o700)
    # What lies below a closed folder is what cannot be looked at.
    problem = f"{root} cannot be read" if closed == ".." else f"the folder {folder} cannot be listed"
    assert done.stdout == f"data.location: {problem} (Permission denied); make it readable, or move it away\n"


def test_the_name_of_a_file_decides_the_split_where_that_is_asked_for(tmp_path):
    written(tmp_path / "train.parquet", image=[b"one"])
    written(tmp_path / "test-00000-of-00001.parquet", image=[b"two"])
    samples = ParquetFiles(test_files="test*.parquet").samples(str(tmp_path))
    assert {(sample.payload, sample.split) for sample in samples} == {(b"one", "train"), (b"two", "test")}


def test_a_pattern_that_names_no_file_is_an_error_that_lists_them(tmp_path):
    written(tmp_path / "train.parquet", image=[b"one"])
    with pytest.raises(DataError, match=r"no file below .* is named 'test\*'; there are: train.parquet"):
        list(ParquetFiles(test_files="test*").samples(str(tmp_path)))


def test_file_names_and_a_column_cannot_both_decide_the_split():
    with pytest.raises(ValueError, match="would both decide the split; leave one of them empty"):
        ParquetFiles(test_files="test*", split_column="split")
