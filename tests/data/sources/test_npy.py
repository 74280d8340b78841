"""Arrays in `.npy` files as vectors: which are read, which values and labels they have, and what is refused."""

import hashlib
import os
import pickle
import struct

import numpy as np
import pytest
from pictures import LFS_POINTER

from cl_core.data.sources import RawSample, built_source
from cl_core.data.sources._vectors import payloads_of
from cl_core.data.sources.npy import NumpyArrays
from cl_core.errors import DataError, InputError, SpecError
from cl_core.specs import DataSpec

RNG = np.random.default_rng(0)


@pytest.fixture
def place(tmp_path):
    """Writes arrays as `.npy` files of these names, and returns their folder."""

    def write(**arrays):
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
        return str(tmp_path)

    return write


def read(location, **options):
    return list(NumpyArrays(**options).samples(location))


def values_of(samples):
    return np.array([np.frombuffer(sample.payload, "<f4") for sample in samples])


def refused(location, **options):
    with pytest.raises(DataError) as refusal:
        read(location, **options)
    return str(refusal.value)


@pytest.mark.parametrize(
    "type_", ["?", "i1", "u1", "i2", ">i4", "u4", "<i8", "u8", "f2", "<f4", ">f4", "f8", ">f8", "g"], ids=str
)
def test_numbers_of_every_width_and_order_of_bytes_become_the_same_float32(place, type_):
    numbers = np.array([[0, 1, 1], [1, 0, 1]]).astype(type_)
    samples = read(place(x=numbers) + "/x.npy")
    assert [np.frombuffer(sample.payload, "<f4").tolist() for sample in samples] == [[0, 1, 1], [1, 0, 1]]


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 2, 3), (5, 1, 2, 2)], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_of_any_number_of_dimensions_are_flattened_in_whichever_order_they_are_stored(place, shape, order):
    numbers = RNG.normal(size=shape)
    location = place(x=np.asarray(numbers, order=order)) + "/x.npy"
    assert np.array_equal(values_of(read(location)), numbers.reshape(5, -1).astype(np.float32))


def test_a_sample_is_named_by_its_file_and_row(place):
    assert read(place(x=np.eye(2, dtype="f4")) + "/x.npy") == [
        RawSample(struct.pack("<2f", 1, 0), None, "", "x.npy#0"),
        RawSample(struct.pack("<2f", 0, 1), None, "", "x.npy#1"),
    ]


def test_missing_infinite_and_all_missing_values_pass_through(place):
    numbers = np.array([[np.nan, 1], [np.inf, -np.inf], [np.nan, np.nan]])
    assert np.array_equal(values_of(read(place(x=numbers) + "/x.npy")), numbers, equal_nan=True)


def test_what_is_beyond_float32_becomes_infinite_and_nothing_warns(place):
    assert values_of(read(place(x=np.array([[1e300, -1e300, 1e-300]])) + "/x.npy")).tolist() == [[np.inf, -np.inf, 0]]


def test_rows_of_equal_values_have_equal_bytes_whatever_the_signs_of_zero_and_the_bits_of_nan():
    odd = np.array([0x80000000, 0x7F800001, 0xFFC00000, 0x7FC12345], "<u4").view("<f4")
    plain = np.array([0, np.nan, np.nan, np.nan], "<f4")
    assert payloads_of(np.array([odd, plain])) == [struct.pack("<4I", 0, *[0x7FC00000] * 3)] * 2


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 25])
def test_the_rows_of_several_blocks_are_those_of_the_array(place, monkeypatch, rows):
    monkeypatch.setattr("cl_core.data.sources._vectors._BLOCK_VALUES", 24)
    numbers = RNG.integers(0, 99, (rows, 3))
    samples = read(place(x=numbers, x_labels=np.arange(rows)) + "/x.npy")
    assert np.array_equal(values_of(samples), numbers)
    assert [(sample.origin, sample.label) for sample in samples] == [(f"x.npy#{row}", str(row)) for row in range(rows)]


def test_the_files_of_a_folder_are_splits_with_labels_beside_them(place):
    location = place(
        train=np.ones((2, 1)), test=np.zeros((1, 1)), train_labels=np.array([3, -1]), test_labels=np.array([4])
    )
    source = NumpyArrays()
    assert [(sample.origin, sample.split, sample.label) for sample in source.samples(location)] == [
        ("test.npy#0", "test", "4"),
        ("train.npy#0", "train", "3"),
        ("train.npy#1", "train", None),
    ]
    assert source.note(location) == (
        "splits are those of the file names test, train; labels are those of test_labels.npy, train_labels.npy"
    )
    assert source.passed_over() == {} and source.content() == {}


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Validation"])
def test_validation_is_the_test_split_unless_there_is_one(place, validation):
    location = place(train=np.ones((1, 1)), **{validation: np.zeros((1, 1))})
    assert {sample.origin: sample.split for sample in read(location)} == {
        "train.npy#0": "train",
        f"{validation}.npy#0": "test",
    }
    place(test=np.zeros((1, 1)))
    assert {sample.split for sample in read(location) if sample.origin == f"{validation}.npy#0"} == {"train"}


def test_one_split_alone_leaves_the_split_open_and_says_so(place):
    source = NumpyArrays()
    assert [sample.split for sample in source.samples(place(train=np.ones((1, 1))))] == [""]
    assert source.note("") == "of splits there is train alone, so that data.test_share decides"


def test_other_files_are_passed_over_and_counted(place, tmp_path):
    location = place(train=np.ones((1, 1)), features=np.ones((1, 1)), train_labels=np.ones(1, int))
    (tmp_path / "README").write_text("words")
    source = NumpyArrays()
    assert len(list(source.samples(location))) == 1
    assert source.passed_over() == {".npy": 1, "no suffix": 1}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([7, -1], "i1"), ["7", None]),
        (np.array([7, 255], "u1"), ["7", "255"]),
        (np.array([True, False]), ["True", "False"]),
        (np.array([" cat ", ""]), ["cat", None]),
        (np.array(["bär".encode(), b"-1"]), ["bär", "-1"]),
        (np.array([[7], [8]]), ["7", "8"]),
    ],
    ids=["ints", "unsigned", "booleans", "text", "bytes", "a column"],
)
def test_labels_are_numbers_booleans_or_text_and_minus_one_or_empty_is_none(place, labels, names):
    location = place(x=np.ones((2, 1)), y=labels) + "/x.npy"
    assert [sample.label for sample in read(location, labels="y.npy")] == names


def test_the_name_of_a_labels_file_may_hold_that_of_the_values_and_lie_in_a_folder(place, tmp_path):
    location = place(train=np.ones((1, 1)), test=np.zeros((1, 1)))
    (tmp_path / "y").mkdir()
    for name in ("train", "test"):
        np.save(tmp_path / "y" / f"{name}.y.npy", np.array([name]))
    assert [sample.label for sample in read(location, labels="y/{split}.y.npy")] == ["test", "train"]


def test_one_file_of_labels_for_two_of_values_is_refused(place):
    location = place(train=np.ones((1, 1)), test=np.zeros((1, 1)), y=np.ones(1, int))
    assert refused(location, labels="y.npy") == (
        "source_options.labels: 'y.npy' names one file for 2 files of values; write {split} in it, as in "
        "{split}_labels.npy"
    )


def test_labels_and_rows_of_different_numbers_are_refused_with_both(place):
    location = place(x=np.ones((1200, 1)), x_labels=np.ones(1201, int))
    assert "x_labels.npy has 1,201 labels for the 1,200 rows of x.npy" in refused(location + "/x.npy")


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (np.array([1.5, 2]), "holds float64; wanted whole numbers, booleans or text"),
        (np.eye(2, dtype=int), r"has the shape (2, 2); wanted one label for each row, (2,)"),
        (np.array(1), r"has the shape (); wanted one label for each row"),
        (np.array(["a", 1], object), "holds Python objects (a pickle), which could run any code"),
        (np.array([b"a", b"\xff"]), "is no text in Unicode"),
        (np.array([0x61, 0xD800], "<u4").view("<U1"), "is no text in Unicode"),
        (np.array([0x61, 0x7FFFFFFF], "<u4").view("<U1"), "is no text in Unicode"),
    ],
    ids=["floats", "one-hot", "a single one", "objects", "latin-1", "surrogates", "beyond Unicode"],
)
def test_labels_that_name_no_classes_are_refused(place, labels, problem):
    message = refused(place(x=np.ones((2, 1)), y=labels) + "/x.npy", labels="y.npy")
    assert message.startswith("source_options.labels: ") and problem in message


def test_labels_that_are_named_and_not_there_are_refused(place):
    location = place(x=np.ones((2, 1)))
    assert refused(location + "/x.npy", labels="y.npy") == (
        f"source_options.labels: there is no file {location}/y.npy; give a .npy file that exists"
    )


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.ones((2, 2), complex), "holds complex128; wanted whole numbers, booleans or floats"),
        (np.zeros(2, [("a", "f4")]), "(a structured type); wanted"),
        (np.array(["a"]), "holds <U1; wanted"),
        (np.array(["2020-01-01"], "M8[D]"), "holds datetime64[D]; wanted"),
        (np.array([[1], [1, 2]], object), "holds Python objects (a pickle), which could run any code; convert"),
        (np.array(1.5), "holds a single number; wanted (N, ...), a row for each sample"),
        (np.ones((0, 3)), "holds no values, its shape is (0, 3); wanted"),
        (np.ones((3, 0)), "holds no values, its shape is (3, 0); wanted"),
        (np.ones((1, 65_537), "i1"), "have 65,537 values each; at most 65,536 are read"),
    ],
    ids=["complex", "structured", "text", "dates", "objects", "0-d", "no rows", "no columns", "too wide"],
)
def test_an_array_of_other_things_than_numbers_is_refused_with_its_type(place, array, problem):
    message = refused(place(x=array) + "/x.npy")
    assert message.startswith("data.location: ") and problem in message


def npy(shape="(4, 3)", type_="<f8", data=b"\0" * 96):
    header = f"{{'descr': {type_!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty; save the array again"),
        (b"\x93NUMPY\x01", "is cut off or damaged"),
        (npy()[:100], "is cut off or damaged"),
        (npy()[:-1], "is cut off or damaged"),
        (npy(shape="(10**9, 3)"), "is cut off or damaged"),
        (npy(shape="(1000000000000, 3)"), "is cut off or damaged"),
        (npy(shape="(-4, 3)"), "is cut off or damaged"),
        (npy(shape="(4, 3"), "is cut off or damaged"),
        (npy(type_="<f3"), "is cut off or damaged"),
        (pickle.dumps([1, 2]), "is no .npy file, by its first bytes"),
        (b"PK\x03\x04 and more", "is an .npz archive; save each of its arrays"),
        (b"1,2\n3,4\n", "is no .npy file, by its first bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS; run `git lfs pull`"),
    ],
    ids=lambda value: "" if isinstance(value, str) else repr(value[:12]) + str(len(value)),
)
def test_a_file_that_is_not_an_intact_array_is_refused_in_one_sentence(tmp_path, content, problem):
    (tmp_path / "x.npy").write_bytes(content)
    message = refused(str(tmp_path / "x.npy"))
    assert message.startswith(f"data.location: {tmp_path / 'x.npy'} {problem}")


def test_pointers_of_git_lfs_in_a_folder_are_passed_over_unless_they_are_labels(tmp_path):
    np.save(tmp_path / "train.npy", np.ones((2, 3)))
    for name in ("test.npy", "more.npy", "model.bin"):
        (tmp_path / name).write_text(LFS_POINTER)
    source = NumpyArrays()
    assert [sample.origin for sample in source.samples(str(tmp_path))] == ["train.npy#0", "train.npy#1"]
    assert source.passed_over() == {"Git LFS pointers (run `git lfs pull`)": 3}
    (tmp_path / "train_labels.npy").write_text(LFS_POINTER)
    assert refused(str(tmp_path)).endswith("train_labels.npy is a pointer of Git LFS; run `git lfs pull`")
    (tmp_path / "train.npy").unlink()
    assert refused(str(tmp_path)).endswith(f"the files below {tmp_path} are pointers of Git LFS; run `git lfs pull`")


def test_a_pickle_is_never_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    np.save(tmp_path / "x.npy", np.array([Evil()], object), allow_pickle=True)
    (tmp_path / "y.npy").write_bytes(pickle.dumps(Evil()))
    for name in ("x.npy", "y.npy"):
        refused(str(tmp_path / name))
    assert not (tmp_path / "owned").exists()


def test_a_pipe_a_link_to_itself_and_a_link_to_nothing_are_refused_and_nothing_waits(tmp_path):
    os.mkfifo(tmp_path / "train.npy")
    assert refused(str(tmp_path / "train.npy")).endswith("train.npy is not a file; give a .npy file")
    assert refused(str(tmp_path)).endswith("train.npy is not a file; give a .npy file")
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    assert "cannot be read (Too many levels of symbolic links)" in refused(str(tmp_path / "loop.npy"))
    (tmp_path / "lost.npy").symlink_to("nothing.npy")
    assert "there is no file" in refused(str(tmp_path / "lost.npy"))


def test_a_link_out_of_the_allowed_folders_is_refused(place, tmp_path, monkeypatch):
    np.save(tmp_path / "secret.npy", np.ones((1, 1)))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.npy").symlink_to(tmp_path / "secret.npy")
    np.save(tmp_path / "in" / "x.npy", np.ones((1, 1)))
    monkeypatch.setenv("CL_DATA_ROOTS", str(tmp_path / "in"))
    with pytest.raises(InputError, match="is outside the allowed folders"):
        read(str(tmp_path / "in"))
    with pytest.raises(InputError, match=r"^source_options\.labels: .*secret\.npy.* is outside the allowed folders"):
        read(str(tmp_path / "in" / "x.npy"), labels="../secret.npy")


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("", "data.location is empty; give a .npy file, or a folder with train.npy and test.npy"),
        ("/no/such/x.npy", "data.location: there is no file /no/such/x.npy; give a .npy file that exists"),
    ],
)
def test_a_missing_place_is_an_error(location, message):
    with pytest.raises(DataError) as refusal:
        NumpyArrays().fingerprint(location)
    assert str(refusal.value) == message


def test_a_folder_without_files_of_splits_says_what_it_holds(place):
    location = place(features=np.ones((1, 1)))
    assert refused(location) == (
        f"data.location: {location} has no train.npy or test.npy; passed over: 1 .npy; give one .npy file, or name "
        "the files so"
    )


def test_files_with_rows_of_different_lengths_are_refused_with_both(place):
    location = place(train=np.ones((2, 784)), test=np.ones((2, 28)))
    assert refused(location).endswith("train.npy has rows of 784 values, and test.npy has rows of 28; write both alike")


@pytest.mark.parametrize(
    ("numbers", "note"),
    [
        (np.array([[2**24], [-(2**24)]]), ""),
        (np.array([[2**24 + 1]]), "whole numbers beyond 16,777,216 lose digits, since values are stored as float32"),
        (np.array([[-(2**63)]]), "whole numbers beyond 16,777,216 lose digits, since values are stored as float32"),
        (np.array([[2.0**30]]), ""),
    ],
    ids=["just exact", "one more", "the least", "floats"],
)
def test_whole_numbers_that_lose_digits_are_noted(place, numbers, note):
    source, location = NumpyArrays(), place(x=numbers) + "/x.npy"
    assert np.array_equal(values_of(source.samples(location)), numbers.astype("f4"))
    assert source.note(location) == note


def test_few_rows_are_found_again_without_the_others(place, monkeypatch):
    numbers = RNG.normal(size=(50, 4))
    location = place(train=numbers, test=numbers[:3] + 1)
    samples = read(location)
    wanted = {hashlib.sha256(sample.payload).digest(): sample for sample in samples[::10]}
    origins = {key: sample.origin for key, sample in wanted.items()}
    lost = {b"0" * 32: "train.npy#3", b"1" * 32: "train.npy#99", b"2" * 32: "other.npy#0", b"3" * 32: "train.npy"}
    monkeypatch.setattr(NumpyArrays, "samples", None)
    found = NumpyArrays().find(location, origins | lost)
    assert found == {key: sample.payload for key, sample in wanted.items()}
    assert NumpyArrays().number_of_inputs(location) == len(samples) == 53


def test_the_fingerprint_changes_with_the_values_and_with_the_labels(place):
    location = place(x=np.ones((1, 1)), x_labels=np.ones(1, int)) + "/x.npy"
    seen = {NumpyArrays().fingerprint(location), NumpyArrays().fingerprint(location)}
    place(x=np.ones((2, 1)))
    seen.add(NumpyArrays().fingerprint(location))
    place(x_labels=np.ones(2, int))
    seen.add(NumpyArrays().fingerprint(location))
    assert len(seen) == 3


def test_a_large_array_is_mapped_and_only_what_is_taken_is_read(tmp_path):
    """The file has a gigabyte of holes: reading it as a whole would take longer, and the memory."""
    path = tmp_path / "x.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype="<f4", shape=(1 << 18, 1 << 10)).flush()
    source = NumpyArrays()
    assert next(source.samples(str(path))).payload == b"\0" * 4096
    assert source.number_of_inputs(str(path)) == 262_144


def test_arrays_are_no_images():
    with pytest.raises(SpecError, match=r"data\.source: 'npy' delivers vector, not image"):
        built_source(DataSpec(name="x", source="npy", location="x"), "image")
