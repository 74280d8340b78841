"""Labels of tables: which Arrow types and values are classes, which mean unlabeled, and which are refused."""

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cl_core.data.sources.parquet import ParquetFiles
from cl_core.errors import DataError

CLASS_LABEL = {"info": {"features": {"label": {"names": ["cat", " dog "], "_type": "ClassLabel"}}}}


def write(path, labels, *, metadata=None):
    table = pa.table({"image": [b"%d" % row for row in range(len(labels))], "label": labels})
    pq.write_table(table.replace_schema_metadata(metadata), path)


def labels_of(location):
    return [sample.label for sample in ParquetFiles(label_column="label").samples(str(location))]


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.string_view()])
def test_text_is_trimmed_and_blank_text_is_no_label(tmp_path, type_):
    write(tmp_path / "a.parquet", pa.array(["cat", " cat\n", "", "  ", None, "c a t"], type_))
    assert labels_of(tmp_path) == ["cat", "cat", None, None, None, "c a t"]


@pytest.mark.parametrize("type_", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_bytes_are_text_where_they_are_utf8(tmp_path, type_):
    write(tmp_path / "a.parquet", pa.array([b"cat", "Käfer".encode(), b"", None], type_))
    assert labels_of(tmp_path) == ["cat", "Käfer", None, None]


def test_dictionaries_are_what_their_values_are(tmp_path):
    write(tmp_path / "a.parquet", pa.array(["b", "a", None, "b"]).dictionary_encode())
    assert labels_of(tmp_path) == ["b", "a", None, "b"]


@pytest.mark.parametrize(
    "type_", [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
)
def test_whole_numbers_are_classes(tmp_path, type_):
    write(tmp_path / "a.parquet", pa.array([0, 7, None], type_))
    assert labels_of(tmp_path) == ["0", "7", None]


@pytest.mark.parametrize("type_", [pa.float32(), pa.float64()])
def test_whole_floats_are_whole_numbers_and_nan_is_no_label(tmp_path, type_):
    write(tmp_path / "a.parquet", pa.array([0.0, -0.0, 3.0, float("nan"), None], type_, from_pandas=False))
    assert labels_of(tmp_path) == ["0", "0", "3", None, None]


def test_booleans_are_two_classes_and_a_column_of_nulls_is_none(tmp_path):
    write(tmp_path / "a.parquet", pa.array([True, False, None]))
    assert labels_of(tmp_path) == ["True", "False", None]
    write(tmp_path / "a.parquet", pa.nulls(2))
    assert labels_of(tmp_path) == [None, None]


def test_an_index_has_the_name_that_the_file_gives_it_and_minus_one_is_no_label(tmp_path):
    write(tmp_path / "a.parquet", pa.array([1, 0, -1, None]), metadata={"huggingface": json.dumps(CLASS_LABEL)})
    assert labels_of(tmp_path) == ["dog", "cat", None, None]


@pytest.mark.parametrize("index", [2, -2])
def test_an_index_without_a_name_is_refused_with_its_row(tmp_path, index):
    write(tmp_path / "a.parquet", pa.array([1, index]), metadata={"huggingface": json.dumps(CLASS_LABEL)})
    with pytest.raises(DataError) as caught:
        labels_of(tmp_path)
    assert str(caught.value) == (
        f"a.parquet#1: column 'label' is {index}; expected -1 (no label) or an index of the 2 class names "
        "(source_options.label_column)"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, "a whole number"), (float("inf"), "a whole number"), (b"\xff\xfe", "bytes that are UTF-8 text")],
)
def test_a_value_that_cannot_be_a_class_is_refused_with_its_row(tmp_path, value, expected):
    write(tmp_path / "a.parquet", pa.array([None, value]))
    with pytest.raises(DataError, match=rf"^a\.parquet#1: column 'label' is .*; expected {expected} \("):
        labels_of(tmp_path)


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([[1, 2], [3]]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([datetime.date(2026, 1, 1), None]),
        pa.array([datetime.datetime(2026, 1, 1), None]),
        pa.array([datetime.time(1), None]),
        pa.array([decimal.Decimal("1.5"), None]),
        pa.array([b"ab", b"cd"], pa.binary(2)),
    ],
    ids=lambda labels: str(labels.type),
)
def test_a_type_that_cannot_be_a_class_is_refused_with_column_and_type(tmp_path, labels):
    write(tmp_path / "a.parquet", labels)
    stored = pq.read_schema(tmp_path / "a.parquet").field("label").type
    with pytest.raises(DataError) as caught:
        labels_of(tmp_path)
    assert str(caught.value) == (
        f"source_options.label_column: column 'label' of {tmp_path / 'a.parquet'} is {stored}; expected text, "
        "whole numbers, booleans, or one of these as a dictionary; one class for each sample"
    )


def test_text_that_is_not_utf8_is_one_sentence_with_file_and_column(tmp_path):
    broken = pa.array([b"cat", b"\xff"]).view(pa.string())
    write(tmp_path / "a.parquet", broken)
    with pytest.raises(DataError, match=r"column 'label' of .*a\.parquet has text that is not UTF-8 \(.*\); export"):
        labels_of(tmp_path)


def test_a_column_that_occurs_twice_is_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([b"1"]), pa.array(["a"]), pa.array(["b"])], ["image", "label", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"label_column: .*a\.parquet has 2 columns 'label'; write it with one column"):
        labels_of(tmp_path)


def test_files_of_one_dataset_must_mean_the_same(tmp_path):
    write(tmp_path / "a.parquet", pa.array([1.0, 2.0]))
    write(tmp_path / "b.parquet", pa.nulls(1))
    write(tmp_path / "c.parquet", pa.array([1]))
    assert labels_of(tmp_path) == ["1", "2", None, "1"]
    write(tmp_path / "d.parquet", pa.array(["1"]))
    with pytest.raises(DataError, match=r"'label' of .*d\.parquet is text, not number as in .*a\.parquet; write both"):
        labels_of(tmp_path)


def test_files_with_other_class_names_are_refused(tmp_path):
    write(tmp_path / "a.parquet", pa.array([1]), metadata={"huggingface": json.dumps(CLASS_LABEL)})
    other = {"info": {"features": {"label": {"names": ["dog", "cat"], "_type": "ClassLabel"}}}}
    write(tmp_path / "b.parquet", pa.array([1]), metadata={"huggingface": json.dumps(other)})
    with pytest.raises(DataError, match=r"b\.parquet is of other class names as in .*a\.parquet"):
        labels_of(tmp_path)
