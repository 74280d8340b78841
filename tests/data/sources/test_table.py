"""Tables as vectors: which columns are values, what becomes of them, and what is refused."""

import hashlib
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import LFS_POINTER

from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.sources import RawSample, Unreadable, built_source
from cl_core.data.sources.table import TableFiles
from cl_core.errors import DataError, InputError, SpecError
from cl_core.registry import SOURCES
from cl_core.specs import DataSpec

RNG = np.random.default_rng(0)
NAN = float("nan")


@pytest.fixture
def place(tmp_path):
    """Writes text, or columns as Parquet, below a folder and returns the path of what was written last."""

    def write(name, content=None, **columns):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if columns:
            pq.write_table(pa.table(columns), path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def read(location, **options):
    source = TableFiles(**options)
    samples = list(source.samples(location))
    return source, samples


def values_of(samples):
    return [np.frombuffer(sample.payload, "<f4").tolist() for sample in samples]


def table_of(location, **options):
    """The values of all rows by the names of the values, as a frame of pandas."""
    source, samples = read(location, **options)
    return pd.DataFrame(values_of(samples), columns=source.content()["columns"], dtype="float32")


def refused(location, **options):
    with pytest.raises(DataError) as refusal:
        read(location, **options)
    return str(refusal.value)


def same(table, frame):
    pd.testing.assert_frame_equal(table, frame.astype("float32"), check_exact=True)


# --- numbers, booleans and missing values


def test_a_row_is_named_by_its_file_and_number_and_its_values_by_their_columns(place):
    source, samples = read(place("a.parquet", x=[1, 2], y=[0.5, None]))
    one, two = samples
    assert one == RawSample(np.array([1, 0.5], "<f4").tobytes(), None, "", "a.parquet#0")
    assert two.origin == "a.parquet#1" and two.payload == np.array([2, np.nan], "<f4").tobytes()
    assert source.content() == {"columns": ["x", "y"]} and source.note("") == ""
    assert TableFiles().content() == {}


@pytest.mark.parametrize(
    "type_",
    [
        *(pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.decimal128(5, 2), pa.decimal256(50, 2)),
        pa.dictionary(pa.int8(), pa.int32()),
    ],
    ids=str,
)
def test_numbers_and_booleans_of_every_type_become_float32_and_null_is_missing(place, type_):
    numbers = [True, None, False] if pa.types.is_boolean(type_) else [1, None, 0]
    location = place("a.parquet", x=pa.array(numbers, type_), y=[5.0, 6.0, 7.0])
    same(table_of(location), pd.DataFrame({"x": [1, NAN, 0], "y": [5, 6, 7]}))


def test_infinite_values_and_rows_without_any_value_pass_through(place):
    frame = pd.DataFrame({"x": [np.inf, NAN, 1e300], "y": [-np.inf, NAN, -0.0]})
    location = place("a.parquet", x=pa.array(frame.x), y=pa.array(frame.y))
    expected = pd.DataFrame({"x": [np.inf, NAN, np.inf], "y": [-np.inf, NAN, 0]})
    same(table_of(location), expected)
    _, samples = read(location)
    assert samples[1].payload == bytes.fromhex("0000c07f0000c07f") and samples[2].payload[4:] == bytes(4)


def test_a_csv_and_a_parquet_file_of_the_same_numbers_have_the_same_bytes(place, tmp_path):
    frame = pd.DataFrame(RNG.normal(size=(50, 7)) * 10.0 ** RNG.integers(-30, 30, 7), columns=list("abcdefg"))
    frame.loc[3, "b"] = None
    frame["whole"] = RNG.integers(-99, 99, 50)
    frame["yes"] = RNG.random(50) > 0.5
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    tables = {name: table_of(str(tmp_path / name)) for name in ("a.parquet", "a.csv", "a.tsv")}
    for table in tables.values():
        same(table, frame)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 100])
def test_several_batches_and_row_groups_have_all_rows_in_order(place, tmp_path, monkeypatch, rows):
    monkeypatch.setattr("cl_core.data.sources._vectors._BLOCK_VALUES", 16)
    monkeypatch.setattr("cl_core.data.sources._csv_files._BLOCK_BYTES", 64)
    frame = pd.DataFrame({"x": np.arange(rows), "y": np.arange(rows) / 2})
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=5)
    frame.to_csv(tmp_path / "a.csv", index=False)
    for name in ("a.parquet", "a.csv"):
        location = str(tmp_path / name)
        same(table_of(location), frame)
        source, samples = read(location)
        assert [sample.origin for sample in samples] == [f"{name}#{row}" for row in range(rows)]
        assert source.number_of_inputs(location) == rows


@pytest.mark.parametrize("word", ["", "NA", "NaN", "null", '"NA"', "nan"])
def test_words_for_missing_numbers_are_missing(place, word):
    same(table_of(place("a.csv", f"x,y\n1,2\n{word},3\n")), pd.DataFrame({"x": [1, NAN], "y": [2, 3]}))


def test_a_column_that_begins_whole_may_continue_with_fractions_and_one_that_begins_empty_with_numbers(
    place, monkeypatch
):
    monkeypatch.setattr("cl_core.data.sources._csv_files._BLOCK_BYTES", 16)
    location = place("a.csv", "x,y\n1,\n2,\n3,\n4,\n5.5,6\n")
    same(table_of(location), pd.DataFrame({"x": [1, 2, 3, 4, 5.5], "y": [NAN] * 4 + [6]}))


@pytest.mark.parametrize(
    ("numbers", "is_noted"),
    [([2**24, -(2**24)], False), ([2**24 + 1], True), ([-(2**63)], True), ([2.0**30], False), ([None], False)],
)
def test_whole_numbers_that_lose_digits_are_noted(place, numbers, is_noted):
    column = pa.array(numbers, pa.float64() if isinstance(numbers[0], float) else pa.int64())
    source, _ = read(place("a.parquet", x=column, y=[1] * len(numbers)))
    lists, _ = read(place("b.parquet", x=pa.array([numbers], pa.list_(column.type))))
    note = "whole numbers beyond 16,777,216 lose digits, since values are stored as float32" if is_noted else ""
    assert (source.note(""), lists.note("")) == (note, note)


# --- which columns are values


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (["*"], ["id", "p1", "p2", "q[0]"]),
        (["p2", "p1"], ["p1", "p2"]),
        (["p*"], ["p1", "p2"]),
        (["p?", "id"], ["id", "p1", "p2"]),
        (["q[0]"], ["q[0]"]),
        (["*", "!id"], ["p1", "p2", "q[0]"]),
        (["!p*", "!id"], ["q[0]"]),
        (["!p*", "p2"], ["id", "p2", "q[0]"]),
    ],
    ids=str,
)
def test_names_and_patterns_choose_columns_which_stay_in_the_order_of_the_file(place, columns, chosen):
    location = place("a.parquet", **{"id": [9], "p1": [1], "p2": [2], "q[0]": [3]})
    assert table_of(location, columns=columns).columns.tolist() == chosen


def test_label_split_and_group_are_no_values_and_are_read(place):
    text = "kind,part,who,x\ncat,fit,007,1\n,hold,,2\n"
    options = {"label_column": "kind", "split_column": "part", "train_value": "fit", "test_value": "hold"}
    source = TableFiles(**options).grouped_by("who")
    one, two = source.samples(place("a.csv", text))
    assert (one.label, one.split, one.group, two.label, two.split, two.group) == (
        *("cat", "train", "007"),
        *(None, "test", None),
    )
    assert source.content() == {"columns": ["x"]}


def test_a_group_that_is_named_is_a_value_as_well(place):
    source = TableFiles(columns=["x", "who"]).grouped_by("who")
    for name in (place("a.parquet", x=[1], who=[7]), place("a.csv", "x,who\n1,7\n")):
        (sample,) = source.samples(name)
        assert values_of([sample]) == [[1, 7]] and sample.group == "7"


def test_labels_of_parquet_and_text_are_those_of_other_tables(place):
    location = place("a.parquet", x=[1.0, 2.0, 3.0], kind=pa.array([3.0, None, 4.0]))
    assert [sample.label for sample in read(location, label_column="kind")[1]] == ["3", None, "4"]
    assert [sample.label for sample in read(place("a.csv", "x,k\n1,03\n2,NA\n"), label_column="k")[1]] == ["03", None]


def test_an_index_of_pandas_is_left_out_and_that_is_noted(place, tmp_path):
    frame = pd.DataFrame({"x": [1, 2]}, index=[5, 7])
    frame.to_csv(tmp_path / "a.csv")
    frame.to_parquet(tmp_path / "a.parquet")
    for name, index in {"a.csv": "", "a.parquet": "__index_level_0__"}.items():
        source, samples = read(str(tmp_path / name))
        assert values_of(samples) == [[1], [2]]
        assert source.note("") == f"left out as an index of pandas: {index!r}"
    assert table_of(str(tmp_path / "a.csv"), columns=["*", ""]).columns.tolist() == ["", "x"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["x", "z"]}, "source_options.columns: {path} has no column 'z'; it has: x, kind"),
        ({"columns": ["q*"]}, "source_options.columns: {path} has no column 'q*'; it has: x, kind"),
        ({"label_column": "z"}, "source_options.label_column: {path} has no column 'z'; it has: x, kind"),
        ({"split_column": "z"}, "source_options.split_column: {path} has no column 'z'; it has: x, kind"),
        (
            {"columns": ["!x"], "label_column": "kind"},
            "source_options.columns: of {path} no column is left for values; it has: x, kind",
        ),
        (
            {"categories": {"z": ["a"]}},
            "source_options.categories: 'z' is no column of values of {path}; those are: x, kind",
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_missing_column_is_named_beside_those_that_exist(place, options, message, kind):
    path = place("a.parquet", x=[1], kind=["a"]) if kind == "parquet" else place("a.csv", "x,kind\n1,a\n")
    assert refused(path, **options) == message.format(path=path)


def test_a_missing_group_is_named(place):
    with pytest.raises(DataError, match=r"^data\.group: .*a\.csv has no column 'who'; it has: x, kind$"):
        list(TableFiles().grouped_by("who").samples(place("a.csv", "x,kind\n1,a\n")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": []}, "at least 1 item"),
        ({"columns": ["x", "y"], "label_column": "y"}, "columns has 'y', which is the label_column, and no value"),
        ({"categories": {"x": []}}, r"the levels of 'x' are \[\]; wanted one or more different texts, none empty"),
        ({"categories": {"x": ["a", "a"]}}, "wanted one or more different texts, none empty"),
        ({"categories": {"x": ["a", ""]}}, "wanted one or more different texts, none empty"),
        ({"test_files": "t*", "split_column": "s"}, "would both decide the split; leave one of them empty"),
        ({"split_from": "column"}, "needs the name of the column; set split_column"),
    ],
    ids=str,
)
def test_options_that_contradict_one_another_are_refused(options, message):
    with pytest.raises(SpecError, match=message):
        SOURCES.build("table", options, field="data.source")


# --- text as categories


def test_text_becomes_a_column_of_zero_and_one_for_each_of_its_sorted_levels_as_in_pandas(place, tmp_path):
    frame = pd.DataFrame({"color": ["red", "blue", "red", "äb"], "x": [1, 2, 3, 4], "size": ["s", "m", "s", "s"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.astype({"color": "category"}).to_parquet(tmp_path / "b.parquet")
    expected = pd.get_dummies(frame, prefix_sep="=")
    expected = expected[["color=blue", "color=red", "color=äb", "x", "size=m", "size=s"]]
    for name in ("a.csv", "a.parquet", "b.parquet"):
        same(table_of(str(tmp_path / name)), expected)
    source, _ = read(str(tmp_path / "a.csv"))
    assert source.note("") == "columns of text became columns of 0 and 1: color (3), size (2)"


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_missing_text_is_missing_in_all_of_its_levels(place, type_):
    column = pa.array(["a", None, "b", ""], type_)
    expected = pd.DataFrame({"t=a": [1, NAN, 0, NAN], "t=b": [0, NAN, 1, NAN], "x": [1, 2, 3, 4]})
    same(table_of(place("a.parquet", t=column, x=[1, 2, 3, 4])), expected)
    same(table_of(place("a.csv", "t,x\na,1\nNA,2\nb,3\n,4\n")), expected)


def test_the_levels_are_those_of_all_files(place, tmp_path):
    place("train.csv", "t\na\nb\n")
    place("test.parquet", t=["c", "a"])
    source, samples = read(str(tmp_path))
    assert source.content() == {"columns": ["t=a", "t=b", "t=c"], "column_widths": [3]}
    assert {sample.origin: row for sample, row in zip(samples, values_of(samples), strict=True)} == {
        "test.parquet#0": [0, 0, 1],
        "test.parquet#1": [1, 0, 0],
        "train.csv#0": [1, 0, 0],
        "train.csv#1": [0, 1, 0],
    }


def test_of_given_levels_another_text_is_zero_in_all(place):
    expected = pd.DataFrame({"t=b": [0, 1, 0, NAN], "t=a": [1, 0, 0, NAN], "x": [1, 2, 3, 4]})
    options = {"categories": {"t": ["b", "a"]}}
    same(table_of(place("a.parquet", t=["a", "b", "z", None], x=[1, 2, 3, 4]), **options), expected)
    same(table_of(place("a.csv", "t,x\na,1\nb,2\nz,3\n,4\n"), **options), expected)


def test_whole_numbers_may_be_categories_where_levels_are_given(place):
    options = {"categories": {"code": ["1", "10"]}}
    expected = pd.DataFrame({"code=1": [1, 0, NAN], "code=10": [0, 1, NAN], "x": [1, 2, 3]})
    same(table_of(place("a.parquet", code=[1, 10, None], x=[1, 2, 3]), **options), expected)
    same(table_of(place("a.csv", "code,x\n1,1\n10,2\n,3\n"), **options), expected)
    message = refused(place("b.parquet", code=[1.0], x=[1]), **options)
    assert message.endswith("b.parquet is double; levels are of text or whole numbers")


def test_more_than_a_thousand_texts_are_refused_and_a_thousand_are_not(place):
    texts = [f"t{number}" for number in range(1001)]
    assert len(table_of(place("a.parquet", t=texts[:1000])).columns) == 1000
    path = place("a.parquet", t=texts)
    assert refused(path) == (
        f"source_options.columns: column 't' of {path} has more than 1,000 different texts; name the columns of "
        "numbers alone, or give the levels of this one in source_options.categories"
    )
    assert len(table_of(path, categories={"t": texts}).columns) == 1001


def test_a_text_that_is_missing_everywhere_has_no_levels_and_alone_it_is_refused(place):
    column = pa.array([None, ""], pa.string())
    assert table_of(place("a.parquet", t=column, x=[1, 2])).columns.tolist() == ["x"]
    assert refused(place("b.parquet", t=column)) == (
        "source_options.columns: there is no text in any row of t; name columns with values"
    )


# --- columns of lists


@pytest.mark.parametrize(
    "type_", [pa.list_(pa.float64()), pa.large_list(pa.int16()), pa.list_(pa.float32(), 3)], ids=str
)
def test_a_column_of_lists_may_be_the_only_one_beside_the_label(place, type_):
    location = place("a.parquet", e=pa.array([[1, 2, 3], [4, None, 6]], type_), kind=["a", "b"])
    same(
        table_of(location, label_column="kind"),
        pd.DataFrame({"e[0]": [1, 4], "e[1]": [2, NAN], "e[2]": [3, 6]}),
    )


def test_lists_of_another_length_than_the_first_and_null_are_unreadable_with_both_lengths(place, tmp_path):
    place("a.parquet", e=pa.array([None, [1.0, 2.0], [1.0], [], [3.0, 4.0]]))
    place("b.parquet", e=pa.array([[5.0, 6.0, 7.0], [7.0, 8.0]], pa.list_(pa.float32())))
    _, samples = read(str(tmp_path))
    assert samples[0] == Unreadable("a.parquet#0", "null, and the first list of the table has length 2")
    assert samples[2] == Unreadable("a.parquet#2", "a list of length 1, and the first list of the table has length 2")
    assert [sample.origin for sample in samples if isinstance(sample, Unreadable)] == [
        *("a.parquet#0", "a.parquet#2", "a.parquet#3", "b.parquet#0")
    ]
    rows = [sample for sample in samples if isinstance(sample, RawSample)]
    assert {row.origin: values for row, values in zip(rows, values_of(rows), strict=True)} == {
        "a.parquet#1": [1, 2],
        "a.parquet#4": [3, 4],
        "b.parquet#1": [7, 8],
    }


def test_lists_without_any_value_are_unreadable(place):
    _, samples = read(place("a.parquet", e=pa.array([None, []], pa.list_(pa.float32()))))
    assert [sample.detail for sample in samples] == ["null, or a list without values"] * 2


def test_lists_beside_other_columns_are_refused_with_what_to_name(place):
    path = place("a.parquet", id=[1], e=[[1.0, 2.0]])
    assert refused(path) == (
        f"source_options.columns: column 'e' of {path} is list<element: double>, a list, beside other columns; name it "
        "alone, or leave it out"
    )
    assert values_of(read(path, columns=["e"])[1]) == [[1, 2]]


def test_a_list_of_more_values_than_are_read_is_refused(place):
    path = place("a.parquet", e=pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(65_537, "f4")), 65_537))
    assert refused(path) == (
        "source_options.columns: the first list of column 'e' has 65,537 values; at most 65,536 are read, so shorten "
        "the lists"
    )


# --- splits


def test_folders_file_names_and_patterns_of_names_are_splits(place, tmp_path):
    place("a/train/0.csv", "x\n1\n")
    place("a/test/0.parquet", x=[2])
    place("b/train.csv", "x\n1\n")
    place("b/val.csv", "x\n2\n")
    place("c/one.csv", "x\n1\n")
    place("c/held.csv", "x\n2\n")
    for folder, options in {"a": {}, "b": {}, "c": {"test_files": "held*"}}.items():
        source, samples = read(str(tmp_path / folder), **options)
        splits = {row[0]: sample.split for sample, row in zip(samples, values_of(samples), strict=True)}
        assert splits == {1: "train", 2: "test"}
        assert (
            source.note("")
            == {
                "a": "splits are those of the folders test, train",
                "b": "splits are those of the file names train, val; val is the test split",
                "c": "",
            }[folder]
        )
    assert {sample.split for sample in read(str(tmp_path / "a"), split_from="none")[1]} == {""}


def test_a_value_that_is_not_a_split_is_refused_with_its_row(place):
    message = refused(place("a.csv", "x,s\n1,train\n2,dev\n"), split_column="s")
    assert message.startswith("a.csv#1: column 's' is 'dev'; expected 'train' or 'test'")


# --- which files are tables


def test_a_file_is_a_table_by_its_suffix_in_any_case_or_by_its_content(place, tmp_path):
    for name in ("a.parquet", "a.PQ", "plain", "c.csv"):
        assert values_of(read(place(name, x=[7], y=[8]))[1]) == [[7, 8]]
    for name, text in {
        "a.CSV": "x,y\n7,8\n",
        "a.tab": "x\ty\n7\t8\n",
        "a.txt": "x,y\n7,8\n",
        "b.csv": "x\ty\n7\t8\n",
    }.items():
        assert values_of(read(place(name, text))[1]) == [[7, 8]]
    source, samples = read(str(tmp_path))
    assert len(samples) == 7 and source.passed_over() == {".txt": 1}


def test_marks_of_bytes_line_ends_and_quotes_of_text_files_are_read(place):
    for text in (b"\xef\xbb\xbfx,y\r\n7,8\r\n", b"x,y\r7,8\r", b'"x","y"\n"7","8"', b"\n\nx,y\n7,8\n\n"):
        assert table_of(place("a.csv", text)).to_dict("records") == [{"x": 7, "y": 8}]
    assert table_of(place("a.csv", '"a,\nb",y\n1,2\n')).columns.tolist() == ["a,\nb", "y"]


def test_text_with_line_ends_in_a_column_without_values_does_no_harm(place):
    text = 'x,words\n1,"one\ntwo"\n2,"three, four"\n'
    assert table_of(place("a.csv", text), columns=["x"]).to_dict("list") == {"x": [1, 2]}


def test_another_encoding_in_a_column_that_is_not_read_does_no_harm(place):
    assert table_of(place("a.csv", b"x,words\n1,\xe4\n"), columns=["x"]).to_dict("list") == {"x": [1]}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", b"", "data.location: {path} is empty; export it again, with a line of names"),
        ("a.csv", b"\n \n", "data.location: {path} is empty; export it again, with a line of names"),
        ("a.csv", b"a,b\n1,2\n1\n", "data.location: {path} cannot be read as text with commas or tabs (CSV "),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "data.location: {path} cannot be read as text with commas or tabs (CSV "),
        ("a.csv", b"a,a\n1,2\n", "source_options.columns: {path} has 2 columns 'a'; write it with one column of each"),
        ("a.csv", b"5,0,0\n4,0,0\n", "source_options.columns: {path} has 2 columns '0'; write it with one column of"),
        (
            "a.csv",
            b"0.5,1\n3,4\n",
            "data.location: the first line of {path} holds numbers; write a line with the names",
        ),
        ("a.csv", b"a;b\n1;2\n", "data.location: {path} has semicolons between its values; export it with commas"),
        ("a.csv", "a,b\n1,ä\n".encode("latin-1"), "data.location: column 'b' of {path} has text that is not UTF-8;"),
        ("a.csv", "ä,b\n1,2\n".encode("latin-1"), "data.location: {path} is neither Parquet nor text in UTF-8;"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "data.location: {path} is neither Parquet nor text in UTF-8;"),
        ("a.csv", b"\x1f\x8b\x08\0\0\0\0\0", "data.location: {path} is neither Parquet nor text in UTF-8; unpack it"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\n", "data.location: {path} is a pointer of Git LFS;"),
        ("a.csv", b"day,x\n2020-01-01,1\n", "source_options.columns: column 'day' of {path} is date32[day]; wanted"),
        ("a.parquet", b"", "data.location: {path} cannot be read as Parquet"),
        ("a.parquet", b"PAR1 and nothing else", "data.location: {path} cannot be read as Parquet"),
        ("a.parquet", b"x,y\n1,2\n", "data.location: {path} cannot be read as Parquet"),
        ("a", b"PAR1 and nothing else", "data.location: {path} cannot be read as Parquet"),
    ],
    ids=lambda value: repr(value[:16]) if isinstance(value, bytes) else "",
)
def test_a_file_that_is_not_a_table_is_refused_in_one_sentence(place, name, content, problem):
    path = place(name, content)
    message = refused(path)
    assert message.startswith(problem.format(path=path)) and "\n" not in message


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_column_that_occurs_twice_is_refused_unless_nothing_reads_it(place, tmp_path, suffix):
    for twice in ("x", "kind", "part", "patient", "other"):
        names = ["x", "kind", "part", "patient", "other", twice]
        path = place(f"{twice}/a.{suffix}", ",".join(names) + "\n1,a,train,p,2,3\n")
        if suffix == "parquet":
            values = [1, "a", "train", "p", 2, 3]
            pq.write_table(pa.Table.from_arrays([pa.array([value]) for value in values], names), path)
        source = TableFiles(columns=["x"], label_column="kind", split_column="part").grouped_by("patient")
        if twice == "other":
            (sample,) = source.samples(path)
            assert (sample.label, sample.split, sample.group) == ("a", "train", "p")
            continue
        option = {"x": "source_options.columns", "patient": "data.group", "kind": "source_options.label_column"}
        with pytest.raises(DataError) as caught:
            list(source.samples(path))
        problem = f"{option.get(twice, 'source_options.split_column')}: {path} has 2 columns {twice!r}; write it with"
        assert str(caught.value).startswith(problem)


def test_a_dictionary_of_text_that_is_not_utf8_is_refused_with_its_column(place):
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array([b"a", b"\xff"]).view(pa.string()))
    with pytest.raises(DataError, match=r"column 'word' of .*a\.parquet has text that is not UTF-8 \(.*\); export it"):
        list(TableFiles().samples(place("a.parquet", word=words, x=[1, 2])))


def test_pointers_of_git_lfs_beside_tables_are_passed_over_and_counted(place, tmp_path):
    place("b.csv", "x\n1\n")
    place("c.tsv", LFS_POINTER)
    source = TableFiles()
    assert [sample.origin for sample in source.samples(str(tmp_path))] == ["b.csv#0"]
    assert source.passed_over() == {"Git LFS pointers (run `git lfs pull`)": 1}


def test_a_file_of_parquet_that_ends_early_or_has_a_damaged_page_is_refused(place, tmp_path):
    path = place("a.parquet", x=RNG.normal(size=1000), y=RNG.normal(size=1000))
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[: len(content) // 2])
    assert "cannot be read as Parquet" in refused(path)
    (tmp_path / "a.parquet").write_bytes(content[:4] + b"\xff" * 64 + content[68:])
    assert "cannot be read as Parquet" in refused(path)


def test_a_name_of_a_column_that_is_not_utf8_is_refused(place, tmp_path):
    path = place("a.parquet", xyzzy=[1])
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes().replace(b"xyzzy", b"xyz\xcc\xcc"))
    assert "cannot be read as Parquet ('utf-8' codec can't decode" in refused(path)


@pytest.mark.parametrize(
    ("column", "type_"),
    [
        (pa.array([0], pa.date32()), "date32[day]"),
        (pa.array([0], pa.timestamp("us")), "timestamp[us]"),
        (pa.array([0], pa.time64("us")), "time64[us]"),
        (pa.array([0], pa.duration("us")), "duration[us]"),
        (pa.array([b"a"]), "binary"),
        (pa.array([{"a": 1}]), "struct<a: int64>"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "map<string, int64 ('key')>"),
        (pa.array([[["a"]]]), "list<element: list<element: string>>"),
        (pa.array([["a"]]), "list<element: string>"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_dates_bytes_and_nested_columns_are_refused_with_column_and_type(place, column, type_):
    path = place("a.parquet", x=[1], when=column)
    assert refused(path).startswith(f"source_options.columns: column 'when' of {path} is {type_.split(' (')[0]}")
    assert "leave it out, for example with '!when' after '*'" in refused(path)
    assert values_of(read(path, columns=["*", "!when"])[1]) == [[1]]


def test_a_word_among_numbers_is_refused_and_not_taken_for_a_category(place):
    path = place("a.csv", "x,y\n1,2\n3,n/a\n4,5\n")
    assert refused(path) == (
        f"data.location: column 'y' of {path} holds 'n/a' among numbers; leave it empty where a value is missing, "
        "leave the column out of source_options.columns, or give its levels in source_options.categories"
    )
    same(table_of(path, columns=["x"]), pd.DataFrame({"x": [1, 3, 4]}))
    same(table_of(path, columns=["y"], categories={"y": ["n/a"]}), pd.DataFrame({"y=n/a": [0, 1, 0]}))


def test_a_word_among_more_than_a_thousand_numbers_is_named_as_well(place):
    text = "x\n?\n" + "".join(f"{number}\n" for number in range(2000))
    assert "a.csv holds '?' among numbers" in refused(place("a.csv", text))


@pytest.mark.parametrize("first", ["1", "true", "1.5", ""])
def test_a_word_after_the_first_block_is_refused_with_file_column_and_value(place, monkeypatch, first):
    monkeypatch.setattr("cl_core.data.sources._csv_files._BLOCK_BYTES", 32)
    path = place("a.csv", "x,y\n" + f"1,{first}\n" * 20 + "2,oops\n")
    assert f"column 'y' of {path} holds 'oops' among numbers" in refused(path)


@pytest.fixture(scope="module")
def a_million_columns(tmp_path_factory):
    path = tmp_path_factory.mktemp("wide") / "a.csv"
    path.write_text(",".join(f"c{number}" for number in range(1_000_000)) + "\n")
    return str(path)


@pytest.mark.slow_unit(reason="it writes a million names")
def test_a_million_columns_are_refused_at_once(a_million_columns):
    assert refused(a_million_columns) == (
        f"source_options.columns: {a_million_columns} has 1,000,000 columns of values; at most 65,536 are read, so "
        "name fewer"
    )


def test_a_few_of_many_columns_may_be_read(place):
    count = 200_000
    row = ",".join(map(str, range(count)))
    path = place("a.csv", ",".join(f"c{number}" for number in range(count)) + f"\n{row}\n")
    assert values_of(read(path, columns=["c7", "c19999"])[1]) == [[7, 19_999]]


def test_too_many_columns_of_parquet_and_too_many_levels_together_are_refused(place, monkeypatch):
    for module in ("_value_columns", "_levels"):
        monkeypatch.setattr(f"cl_core.data.sources.{module}.MAX_VALUES", 3)
    assert "has 4 columns of values; at most 3 are read" in refused(place("a.parquet", a=[1], b=[1], c=[1], d=[1]))
    path = place("b.parquet", x=[1, 2], t=["a", "b"], s=["c", "c"])
    assert refused(path) == (
        "source_options.columns: the columns become 4 values, a level of text being one; at most 3 are read, so name "
        "fewer columns"
    )


def test_two_columns_of_one_name_are_refused_in_parquet_as_well(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "b"])
    pq.write_table(table, tmp_path / "a.parquet")
    path = str(tmp_path / "a.parquet")
    assert "has 2 columns 'a'; write it with one column of each name" in refused(path)
    assert values_of(read(path, columns=["b"])[1]) == [[3]]


def test_a_name_that_begins_the_name_of_another_is_read_alone(place):
    location = place("a.parquet", **{"a": [1], "a.b": [2], "c": [3]})
    assert values_of(read(location, columns=["a", "c"])[1]) == [[1, 3]]


def test_files_of_different_columns_are_refused_with_file_and_column(place, tmp_path):
    first, second = place("a.csv", "x,y\n1,2\n"), place("b.parquet", x=[1])
    assert refused(str(tmp_path)) == (
        f"data.location: {first} has the column 'y', which {second} lacks; write the files alike, or name common "
        "columns in source_options.columns"
    )
    assert values_of(read(str(tmp_path), columns=["x"])[1]) == [[1], [1]]


def test_columns_in_another_order_are_brought_into_that_of_the_first_file(place, tmp_path):
    place("a.csv", "x,y\n1,2\n")
    place("b.parquet", y=[4], x=[3])
    assert values_of(read(str(tmp_path))[1]) == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("first", "second", "kinds"),
    [([1], ["a"], "text, and number"), ([True], [1.5], "number, and boolean"), (["a"], [False], "boolean, and text")],
)
def test_files_of_different_types_are_refused_with_file_and_column(place, tmp_path, first, second, kinds):
    place("a.parquet", x=first, y=[1])
    path = place("b.parquet", x=second, y=[1])
    assert refused(str(tmp_path)) == (
        f"data.location: column 'x' of {path} is {kinds} in a file before it; write the files alike, or leave the "
        "column out of source_options.columns"
    )


@pytest.mark.parametrize(("other", "values"), [([1.5], [[NAN], [1.5]]), (["a"], [[NAN], [1]]), ([True], [[NAN], [1]])])
def test_a_column_that_is_empty_in_one_file_is_missing_there(place, tmp_path, other, values):
    place("a.parquet", x=pa.nulls(1))
    place("b.parquet", x=other)
    assert np.array_equal(values_of(read(str(tmp_path))[1]), values, equal_nan=True)


# --- places


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("", "data.location is empty; give a Parquet, CSV or TSV file, or a folder of them"),
        (
            "/no/such/place",
            "there is no file or folder /no/such/place; give a Parquet, CSV or TSV file, or a folder of",
        ),
    ],
)
def test_a_missing_place_is_an_error(location, message):
    with pytest.raises(DataError, match=message):
        TableFiles().fingerprint(location)


def test_a_folder_without_tables_says_what_it_holds(place, tmp_path):
    place("words.txt", "words")
    with pytest.raises(DataError) as refusal:
        TableFiles().fingerprint(str(tmp_path))
    assert str(refusal.value) == (
        f"data.location: {tmp_path} has no .parquet or .csv or .tab or .tsv files at any depth; passed over: 1 .txt; "
        "give the folder that does"
    )


def test_a_pipe_a_link_to_itself_and_a_link_to_nothing_are_refused_and_nothing_waits(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    assert "a.csv is a broken link, or no readable file; move it away" in refused(str(tmp_path))
    assert "a.csv cannot be listed (Not a directory)" in refused(str(tmp_path / "a.csv"))
    (tmp_path / "a.csv").unlink()
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    assert "loop.csv is a broken link, or no readable file" in refused(str(tmp_path))
    assert "cannot be read (Too many levels of symbolic links)" in refused(str(tmp_path / "loop.csv"))


def test_a_folder_that_links_to_itself_is_read_once(place, tmp_path):
    place("a.csv", "x\n1\n")
    (tmp_path / "again").symlink_to(tmp_path)
    assert [sample.origin for sample in read(str(tmp_path))[1]] == ["a.csv#0"]


def test_a_link_out_of_the_allowed_folders_is_refused(place, tmp_path, monkeypatch):
    secret = place("secret.csv", "x\n1\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").symlink_to(secret)
    monkeypatch.setenv("CL_DATA_ROOTS", str(tmp_path / "in"))
    with pytest.raises(InputError, match="is outside the allowed folders"):
        read(str(tmp_path / "in"))


# --- reading again


@pytest.mark.parametrize("kind", ["parquet", "csv", "list"])
def test_few_rows_are_found_again_without_the_other_rows(tmp_path, monkeypatch, kind):
    frame = pd.DataFrame({"x": RNG.normal(size=40), "t": RNG.choice(["a", "b"], 40)})
    options = {}
    if kind == "csv":
        frame.to_csv(tmp_path / "a.csv", index=False)
    else:
        frame["e"] = [[number, 1.0] for number in range(40)]
        frame.to_parquet(tmp_path / "a.parquet", row_group_size=7)
        options = {"columns": ["e"] if kind == "list" else ["*", "!e"]}
    location = str(tmp_path)
    source, samples = read(location, **options)
    wanted = {hashlib.sha256(sample.payload).digest(): sample for sample in samples[3:30:8]}
    origins = {key: sample.origin for key, sample in wanted.items()}
    lost = {b"0" * 32: samples[5].origin, b"1" * 32: samples[0].origin[:-1] + "99", b"2" * 32: "other.csv#0"}
    monkeypatch.setattr(TableFiles, "samples", None)
    found = TableFiles(**options).find(location, origins | lost)
    assert found == {key: sample.payload for key, sample in wanted.items()} and len(found) == 4
    assert source.number_of_inputs(location) == 40


def test_of_text_no_row_after_the_last_wanted_one_is_read(place, monkeypatch):
    monkeypatch.setattr("cl_core.data.sources._csv_files._BLOCK_BYTES", 64)
    path = place("a.csv", "x,y\n" + "1,2\n" * 50 + "1,broken\n")
    payload = np.array([1, 2], "<f4").tobytes()
    key = hashlib.sha256(payload).digest()
    assert TableFiles().find(path, {key: "a.csv#3"}) == {key: payload}
    assert "holds 'broken' among numbers" in refused(path)


def test_the_fingerprint_changes_with_a_file(place, tmp_path):
    place("a.csv", "x\n1\n")
    before = TableFiles().fingerprint(str(tmp_path))
    assert TableFiles().fingerprint(str(tmp_path)) == before
    place("b.csv", "x\n1\n")
    assert TableFiles().fingerprint(str(tmp_path)) != before


def test_tables_are_no_images():
    with pytest.raises(SpecError, match=r"data\.source: 'table' delivers vector, not image"):
        built_source(DataSpec(name="x", source="table", location="x"), "image")


def test_the_same_rows_with_other_columns_are_another_snapshot_and_a_snapshot_of_it_the_same(place, tmp_path):
    """Which values are of one category decides what SCARF's views are: it is a part of what a training is named by."""
    table = place("data/a.csv", "t,x\n" + "".join(f"{'ab'[n % 2]},{n}\n" for n in range(40)))
    np.save(tmp_path / "a.npy", np.array([[n % 2 == 0, n % 2, n] for n in range(40)], np.float32))

    def ingested(source: str, location: object):
        spec = DataSpec(name="given", source=source, location=str(location), modality="vector", test_share=0.3)
        return ingest_source(spec, datasets=tmp_path / source).snapshot

    by_table, by_array = ingested("table", table), ingested("npy", tmp_path / "a.npy")
    assert by_table.rows == by_array.rows and by_table.digest != by_array.digest
    assert ingested("snapshot", by_table.path).digest == by_table.digest
    assert ingested("snapshot", by_array.path).digest == by_array.digest
