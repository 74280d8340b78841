"""Labels of tables: which Arrow types and values are classes, which mean unlabeled, and which are refused."""

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cl_core.data.sources._labels import LabelColumn
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


@pytest.mark.parametrize("type_", [pa.float16(), pa.float32(), pa.float64()])
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
        pa.array([[1, 2], [3]], pa.large_list(pa.int8())),
        pa.array([[1], [3]], pa.list_(pa.int8(), 1)),
        pa.array([[1, 2], [3]], pa.list_view(pa.int8())),
        pa.array([[1, 2], [3]], pa.large_list_view(pa.int8())),
        pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8())),
        pa.array([1, None], pa.duration("s")),
        pa.array([datetime.date(2026, 1, 1), None]).dictionary_encode(),
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16), None], pa.binary(16))),
        pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(['"cat"', None])),
        pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8())),
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


@pytest.mark.parametrize(
    "type_", [pa.month_day_nano_interval(), pa.run_end_encoded(pa.int32(), pa.string())], ids=lambda type_: str(type_)
)
def test_a_type_that_parquet_does_not_hold_today_is_refused_in_the_same_words(tmp_path, type_):
    with pytest.raises(
        DataError, match=r"column 'label' of .*a\.parquet is .*; expected text, whole numbers, booleans"
    ):
        LabelColumn.of(pa.schema([("label", type_)]), "label", tmp_path / "a.parquet")


BROKEN = pa.array([b"cat", b"\xff"])
TEXTS = {
    "string": BROKEN.view(pa.string()),
    "large_string": BROKEN.cast(pa.large_binary()).view(pa.large_string()),
    "string_view": BROKEN.cast(pa.binary_view()).view(pa.string_view()),
}


# Parquet does not hold dictionaries of string_view.
@pytest.mark.parametrize(
    ("kind", "is_dictionary"),
    [("string", False), ("large_string", False), ("string_view", False), ("string", True), ("large_string", True)],
)
def test_text_that_is_not_utf8_is_one_sentence_with_file_and_column(tmp_path, kind, is_dictionary):
    broken = TEXTS[kind]
    if is_dictionary:
        broken = pa.DictionaryArray.from_arrays(pa.array([0, 0, 1]), broken)
    write(tmp_path / "a.parquet", broken)
    with pytest.raises(DataError) as caught:
        labels_of(tmp_path)
    assert str(caught.value).startswith(f"data.location: column 'label' of {tmp_path / 'a.parquet'} has text that is ")
    assert "not UTF-8" in str(caught.value) and str(caught.value).endswith("; export it again")


def test_bytes_of_a_dictionary_that_are_not_utf8_are_refused_with_their_row(tmp_path):
    write(tmp_path / "a.parquet", pa.DictionaryArray.from_arrays(pa.array([0, 1]), BROKEN))
    with pytest.raises(DataError, match=r"^a\.parquet#1: column 'label' is .*; expected bytes that are UTF-8 text"):
        labels_of(tmp_path)


COLUMNS = {"image": [b"1"], "label": ["a"], "split": ["train"], "patient": ["p"], "other": [1]}
OPTIONS = {"image_column": "image", "label_column": "label", "split_column": "split"}


@pytest.mark.parametrize("twice", COLUMNS)
def test_a_column_that_occurs_twice_is_refused_if_it_is_read(tmp_path, twice):
    names = [*COLUMNS, twice]
    table = pa.Table.from_arrays([pa.array(COLUMNS[name]) for name in names], names)
    pq.write_table(table, tmp_path / "a.parquet")
    source = ParquetFiles(**OPTIONS).grouped_by("patient")
    if twice == "other":
        (sample,) = source.samples(str(tmp_path))
        assert (sample.label, sample.split, sample.group) == ("a", "train", "p")
        return
    option = "data.group" if twice == "patient" else f"source_options.{twice}_column"
    with pytest.raises(DataError) as caught:
        list(source.samples(str(tmp_path)))
    assert str(caught.value).startswith(f"{option}: {tmp_path / 'a.parquet'} has 2 columns {twice!r}; ")


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


def test_types_that_mean_the_same_are_read_alike_and_both_files_are_named(tmp_path):
    """As pandas writes whole numbers of which some are missing, beside others."""
    write(tmp_path / "a.parquet", pa.array([0, 1], pa.int64()))
    write(tmp_path / "b.parquet", pa.array([1.0, None], pa.float64()))
    write(tmp_path / "c.parquet", pa.array([None, None], pa.null()))
    source = ParquetFiles(label_column="label")
    assert [sample.label for sample in source.samples(str(tmp_path))] == ["0", "1", "1", None, None, None]
    note = "column 'label' is int64 in a.parquet and double in b.parquet; both are read as numbers"
    assert source.note(str(tmp_path)) == note
    (tmp_path / "b.parquet").unlink()
    list(source.samples(str(tmp_path)))
    assert source.note(str(tmp_path)) == ""
