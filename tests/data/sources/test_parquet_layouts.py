"""Folders of Parquet files: which files are read, and which splits and classes their paths name."""

import hashlib
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import LFS_POINTER

from cl_core.data.sources.parquet import ParquetFiles
from cl_core.errors import DataError, SpecError
from cl_core.registry import SOURCES


@pytest.fixture
def place(tmp_path):
    """Writes Parquet files of one image each, whose bytes are the file's path."""

    def write(*names: str, **columns: list[object]) -> str:
        for name in names:
            path = tmp_path / "export" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"image": [name.encode()], **columns}), path)
        return str(tmp_path / "export")

    return write


def splits_of(location: str, **options: str) -> dict[str, str]:
    return {sample.payload.decode(): sample.split for sample in ParquetFiles(**options).samples(location)}


def labels_of(location: str, **options: str) -> dict[str, str | None]:
    return {sample.payload.decode(): sample.label for sample in ParquetFiles(**options).samples(location)}


def note_of(location: str, **options: str) -> str:
    source = ParquetFiles(**options)
    list(source.samples(location))
    return source.note(location)


def test_files_of_one_name_in_two_folders_have_origins_of_their_own_and_are_found_again(place):
    location = place("default/train/0000.parquet", "default/test/0000.parquet")
    found = {sample.origin: sample for sample in ParquetFiles().samples(location)}
    assert found.keys() == {"default/train/0000.parquet#0", "default/test/0000.parquet#0"}
    wanted = found["default/test/0000.parquet#0"]
    key = hashlib.sha256(wanted.payload).digest()
    assert ParquetFiles().find(location, {key: wanted.origin}) == {key: b"default/test/0000.parquet"}


def test_a_name_without_folders_as_older_snapshots_have_it_is_found_as_well(place):
    location = place("train/0000.parquet", "test/0000.parquet")
    key = hashlib.sha256(b"test/0000.parquet").digest()
    assert ParquetFiles().find(location, {key: "0000.parquet#0"}) == {key: b"test/0000.parquet"}


@pytest.mark.parametrize("name", ["a.PARQUET", "a.Parquet", "a.pq", "a.parq", "a.bin", "a"])
def test_a_file_is_parquet_by_its_suffix_in_any_case_or_by_its_content(place, name):
    assert splits_of(place(name)) == {name: ""}


def test_what_is_not_parquet_is_passed_over_and_counted(place, tmp_path):
    location = place(
        *("a.parquet", "_metadata", "_common_metadata", "_temporary/0/b.parquet", "_delta_log/1.checkpoint.parquet"),
        *(".cache/c.parquet", "__MACOSX/d.parquet", "deep/_delta_log/e.parquet"),
    )
    for name in ("README.md", "deep/notes.MD", "_SUCCESS"):
        (tmp_path / "export" / name).write_text("PARK and other words")
    source = ParquetFiles()
    for _ in range(2):
        assert [sample.origin for sample in source.samples(location)] == ["a.parquet#0"]
    of_engines = {"_metadata": 1, "_common_metadata": 1, "_temporary": 1, "_delta_log": 2}
    assert source.passed_over() == {".md": 2, "no suffix": 1, "hidden": 1, "__MACOSX": 1} | of_engines


def test_a_folder_without_parquet_says_what_it_holds(place, tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "a.csv").write_text("a,b")
    with pytest.raises(DataError, match=r"has no \.parquet files at any depth; passed over: 1 \.csv; give"):
        ParquetFiles().fingerprint(place())


def test_a_pipe_and_a_broken_link_are_refused_by_name_and_nothing_waits(place, tmp_path):
    location = place("a.parquet")
    os.mkfifo(tmp_path / "export" / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet is a broken link, or no readable file; move it away"):
        ParquetFiles().fingerprint(location)
    (tmp_path / "export" / "b.parquet").unlink()
    (tmp_path / "export" / "c.parquet").symlink_to(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"c\.parquet is a broken link"):
        ParquetFiles().fingerprint(location)


def test_pointers_of_git_lfs_are_passed_over_and_alone_they_are_refused(place, tmp_path):
    location = place("a.parquet")
    pointer = tmp_path / "export" / "b.parquet"
    pointer.write_text(LFS_POINTER)
    source = ParquetFiles()
    assert [sample.origin for sample in source.samples(location)] == ["a.parquet#0"]
    assert source.passed_over() == {"Git LFS pointers (run `git lfs pull`)": 1}
    with pytest.raises(DataError, match=r"b\.parquet is a pointer of Git LFS; run `git lfs pull`"):
        list(source.samples(str(pointer)))
    (tmp_path / "export" / "a.parquet").unlink()
    with pytest.raises(DataError, match=r"the files below .*export are pointers of Git LFS; run `git lfs pull`"):
        source.fingerprint(location)


def test_another_content_of_the_same_size_and_time_changes_the_fingerprint(place, tmp_path):
    location = place("a.parquet")
    path = tmp_path / "export" / "a.parquet"
    before, state = ParquetFiles().fingerprint(location), path.stat()
    assert ParquetFiles().fingerprint(location) == before
    content = path.read_bytes()
    path.write_bytes(content.replace(b"a.parquet", b"b.parquet"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    written = ParquetFiles().fingerprint(location)
    other = tmp_path / "other"
    other.write_bytes(content)
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(path)  # Another inode.
    assert len({before, written, ParquetFiles().fingerprint(location)}) == 3


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("default/partial-train/0000.parquet", "default/test/0000.parquet"),
        ("Train/x/y/0.parquet", "TEST/x/y/0.parquet"),
        ("split=train/0.parquet", "split=test/0.parquet"),
        ("data/train-00000-of-00002.parquet", "data/test-00000-of-00001.parquet"),
        ("train.parquet", "Test.PARQUET"),
        ("train_a.parquet", "test1.parquet"),
    ],
)
def test_folders_or_file_names_that_tell_two_splits_apart_are_splits(place, train, test):
    assert splits_of(place(train, test)) == {train: "train", test: "test"}


def test_the_message_says_what_the_splits_were_taken_from(place):
    folders = place("default/train/0.parquet", "default/test/0.parquet")
    assert note_of(folders) == "splits are those of the folders test, train"


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Validation"])
def test_without_a_test_split_the_validation_files_are_it_and_beside_one_they_are_trained_on(place, validation):
    names = ["data/train-0-of-1.parquet", f"data/{validation}-0-of-1.parquet"]
    location = place(*names)
    assert list(splits_of(location).values()).count("test") == 1 and splits_of(location)[names[1]] == "test"
    assert note_of(location).endswith(f"; {validation} is the test split")
    place("data/test-0-of-1.parquet")
    assert splits_of(location) == {names[0]: "train", names[1]: "train", "data/test-0-of-1.parquet": "test"}
    assert note_of(location).endswith(f"; {validation} is trained on, since there is a test split")


@pytest.mark.parametrize("names", [["train/0.parquet", "train/1.parquet"], ["train-0.parquet", "trains.parquet"]])
def test_one_split_alone_tells_nothing_apart_and_the_message_says_so(place, names):
    assert set(splits_of(place(*names)).values()) == {""}
    assert note_of(place()) == "of splits there is train alone, so that data.test_share decides"


def test_one_split_alone_is_one_where_it_is_asked_for(place):
    assert splits_of(place("train/0.parquet"), split_from="folder") == {"train/0.parquet": "train"}


def test_names_that_only_begin_with_the_letters_of_a_split_are_none(place):
    assert set(splits_of(place("trains.parquet", "tester.parquet", "values/0.parquet")).values()) == {""}
    assert note_of(place()) == ""


def test_a_file_in_no_split_beside_splits_is_refused_with_the_option(place):
    location = place("train/0.parquet", "test/0.parquet", "more/0.parquet")
    message = (
        r"export holds test, train, which are splits by folder, beside more/0\.parquet, which is in none; move it into "
        r"one or away, or set source_options\.split_from to 'none'"
    )
    with pytest.raises(DataError, match=message):
        splits_of(location)
    assert set(splits_of(location, split_from="none").values()) == {""}


def test_a_split_within_another_is_refused(place):
    with pytest.raises(DataError, match=r"train/test/0\.parquet is in folders of two splits, train and test; move it"):
        splits_of(place("train/test/0.parquet"))


def test_folders_win_over_file_names_unless_these_are_asked_for(place):
    names = ["train/test-0.parquet", "test/train-0.parquet"]
    location = place(*names)
    assert splits_of(location) == {names[0]: "train", names[1]: "test"}
    assert splits_of(location, split_from="file_name") == {names[0]: "test", names[1]: "train"}


def test_splits_that_are_asked_for_and_not_there_are_refused(place):
    location = place("a/0.parquet")
    with pytest.raises(DataError, match=r"split_from: no folder below .*export is that of a split, such as train or"):
        splits_of(location, split_from="folder")
    with pytest.raises(DataError, match=r"split_from: no file name .*; the first file is a/0\.parquet"):
        splits_of(location, split_from="file_name")


def test_a_hive_partition_is_a_column_and_the_message_says_so(place):
    location = place("year=2024/label=cat/0.parquet", "year=2025/label=b%C3%A4r%20%2F%3D/0.parquet")
    assert labels_of(location, label_column="label") == {
        "year=2024/label=cat/0.parquet": "cat",
        "year=2025/label=b%C3%A4r%20%2F%3D/0.parquet": "bär /=",
    }
    assert note_of(location, label_column="label") == "labels are the folders label=..."
    assert set(labels_of(location, label_column="year").values()) == {"2024", "2025"}


def test_a_partition_named_label_is_the_class_without_an_option(place):
    location = place("year=2024/label=cat/0.parquet")
    assert labels_of(location) == {"year=2024/label=cat/0.parquet": "cat"}
    assert note_of(location) == "labels are the folders label=...; source_options.label_from 'none' reads none"
    assert labels_of(location, label_from="none") == {"year=2024/label=cat/0.parquet": None}
    assert note_of(location, label_from="none") == ""


def test_other_partitions_are_named_with_the_option(place):
    location = place("year=2024/kind=cat/0.parquet")
    assert labels_of(location) == {"year=2024/kind=cat/0.parquet": None}
    assert note_of(location) == (
        "folders kind=..., year=... are columns; source_options.label_column may name one as the class"
    )


def test_partitions_as_pyarrow_writes_them_are_read_as_it_reads_them(tmp_path):
    labels = ["bär / cat", "dog=", "100%", "a b", None]
    table = pa.table({"image": [b"%d" % row for row in range(5)], "label": labels, "year": [2024] * 5})
    pq.write_to_dataset(table, tmp_path, partition_cols=["year", "label"])
    expected = {b"%d" % row: label for row, label in enumerate(labels)}
    samples = list(ParquetFiles().samples(str(tmp_path)))
    assert {sample.payload: sample.label for sample in samples} == expected
    assert len({sample.origin for sample in samples}) == 5
    theirs = pq.read_table(tmp_path)
    assert dict(zip(theirs["image"].to_pylist(), theirs["label"].to_pylist(), strict=True)) == expected


@pytest.mark.parametrize("options", [{}, {"label_column": "label"}])
@pytest.mark.parametrize("folder", ["label=__HIVE_DEFAULT_PARTITION__", "label=", "label=%20 "])
def test_the_default_partition_and_blank_values_are_no_labels(place, folder, options):
    location = place(f"{folder}/0.parquet", "label= cat%20/0.parquet")
    assert labels_of(location, **options) == {f"{folder}/0.parquet": None, "label= cat%20/0.parquet": "cat"}


def test_a_column_of_the_file_wins_over_a_folder_of_its_name(place):
    location = place("label=folder/0.parquet", label=["file"])
    assert labels_of(location, label_column="label") == {"label=folder/0.parquet": "file"}
    assert note_of(location, label_column="label") == ""


def test_a_column_in_neither_is_refused_with_those_of_both(place):
    location = place("year=2024/0.parquet")
    with pytest.raises(DataError, match=r"has no column 'label'; it has: image, and as folders: year$"):
        labels_of(location, label_column="label")


def test_a_partition_and_a_column_of_numbers_are_labels_of_two_kinds(place):
    location = place("a/0.parquet", label=[3])
    place("label=3/0.parquet")
    with pytest.raises(DataError, match=r"column 'label' of .* is text, not number as in"):
        labels_of(location, label_column="label")


def test_a_partition_may_be_the_split_with_values_of_its_own(place):
    location = place("part=fit/0.parquet", "part=hold/0.parquet")
    options = {"split_column": "part", "train_value": "fit", "test_value": "hold"}
    assert splits_of(location, **options) == {"part=fit/0.parquet": "train", "part=hold/0.parquet": "test"}
    with pytest.raises(DataError, match=r"part=fit/0\.parquet#0: column 'part' is 'fit'; expected 'train' or 'test'"):
        splits_of(location, split_column="part")


def test_the_folder_of_a_file_is_its_class_without_the_folders_of_splits(place):
    names = ["train/cat/0.parquet", "dog /test/0.parquet", "test/0.parquet", "train/kind=b%20c/0.parquet"]
    assert labels_of(place(*names), label_from="folder") == dict(zip(names, ["cat", "dog", None, "b c"], strict=True))


@pytest.mark.parametrize("split", ["train", "TEST", "partial-train", "split=val", "Validation"])
def test_the_folder_of_a_split_is_no_class_even_where_there_is_no_other_split(place, split):
    names = [f"{split}/0.parquet", f"cat/{split}/1.parquet", f"{split}/dog/2.parquet"]
    found = labels_of(place(*names), label_from="folder")
    assert found == dict(zip(names, [None, "cat", "dog"], strict=True))
    taken = labels_of(place(), label_from="folder", split_from="none")
    assert taken == dict(zip(names, [split.removeprefix("split="), split.removeprefix("split="), "dog"], strict=True))


@pytest.mark.parametrize("options", [{}, {"split_from": "file_name"}, {"test_files": "test*"}])
def test_the_split_that_file_names_begin_with_is_not_in_the_class(place, options):
    names = ["train-cat-00000-of-00001.parquet", "train_dog_2.parquet", "test-cat-0.parquet", "test.parquet"]
    found = labels_of(place(*names), label_from="file_name", **options)
    assert found == dict(zip(names, ["cat", "dog", "cat", None], strict=True))


@pytest.mark.parametrize("name", ["train-00000-of-00001.parquet", "Train.parquet", "test_1.parquet", "valid-2.parquet"])
def test_a_file_name_that_is_a_split_alone_is_no_class(place, name):
    found = labels_of(place(name, "cat-0.parquet"), label_from="file_name")
    assert found == {name: None, "cat-0.parquet": "cat"}
    assert labels_of(place(), label_from="file_name", split_from="none")[name]


def test_a_class_whose_name_only_begins_like_a_split_is_kept(place):
    found = labels_of(place("train_station-0.parquet", "harbor-0.parquet"), label_from="file_name")
    assert set(found.values()) == {"train_station", "harbor"}


def test_a_column_that_occurs_twice_on_a_path_is_refused(place):
    message = r"two folders of label=cat/label=dog are the column 'label'; rename one of them"
    for options in ({}, {"label_column": "label"}, {"label_from": "folder"}):
        with pytest.raises(DataError, match=message):
            labels_of(place("label=cat/label=dog/0.parquet"), **options)


def test_two_partitions_are_no_folder_of_a_class(place):
    message = r"label_from: 'folder' is ambiguous in year=2024/label=cat; .*label_column to one of year, label"
    with pytest.raises(DataError, match=message):
        labels_of(place("year=2024/label=cat/0.parquet"), label_from="folder")


def test_the_name_of_a_file_is_its_class_without_the_number_of_a_part(place):
    names = ["cat-00000-of-00002.parquet", "cat-00001-of-00002.parquet", "dog_3.parquet", "0001.parquet"]
    expected = ["cat", "cat", "dog", None]
    assert labels_of(place(*names), label_from="file_name") == dict(zip(names, expected, strict=True))


def test_a_pattern_finds_the_class_in_a_file_name(place):
    names = ["2024-cat-x.parquet", "2025-dog-y.parquet"]
    found = labels_of(place(*names), label_from="file_name", label_pattern=r"-([a-z]+)-")
    assert found == dict(zip(names, ["cat", "dog"], strict=True))


def test_a_pattern_that_finds_nothing_is_refused_with_an_example(place):
    with pytest.raises(
        DataError, match=r"label_pattern: '\(x\+\)' finds a class in no file name, such as cat\.parquet"
    ):
        labels_of(place("cat.parquet"), label_from="file_name", label_pattern="(x+)")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_from": "folder", "label_column": "a"}, "label_column 'a' would not be read with label_from 'folder'"),
        ({"split_from": "none", "split_column": "a"}, "split_column 'a' would not be read with split_from 'none'"),
        ({"split_from": "folder", "test_files": "t*"}, "test_files 't*' would not be read with split_from 'folder'"),
        ({"split_from": "column"}, "split_from 'column' needs the name of the column; set split_column"),
        ({"label_pattern": "(a)"}, "label_pattern '(a)' would not be read with label_from 'column'"),
        ({"label_from": "file_name", "label_pattern": "a"}, "label_pattern 'a' has 0 groups; wanted one"),
        ({"label_from": "file_name", "label_pattern": "(a"}, "label_pattern '(a' is not a regular expression"),
        ({"label_from": "name"}, "data.source_options.label_from: input should be 'column', 'folder', 'file_name'"),
    ],
)
def test_options_that_contradict_each_other_are_refused_by_name(options, message):
    with pytest.raises(SpecError) as refused:
        SOURCES.build("parquet", options, field="data.source")
    assert message in str(refused.value)
