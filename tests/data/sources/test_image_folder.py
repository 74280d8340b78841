import io
import os
import socket
import subprocess
import sys

import pytest
from permissions import obeying
from pictures import LFS_POINTER
from PIL import Image

from cl_core.data.sources import RawSample, Unreadable
from cl_core.data.sources.image_folder import ImageFolder
from cl_core.errors import DataError, SpecError
from cl_core.modalities._image_decoding import MAX_PAYLOAD_BYTES
from cl_core.registry import SOURCES


@pytest.fixture
def place(tmp_path):
    """Writes files of a few bytes; the source does not look into them."""

    def write(*names: str) -> str:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
        return str(tmp_path)

    return write


def delivered(source: ImageFolder, location: str) -> set[tuple[str, str | None, str]]:
    samples = list(source.samples(location))
    assert all(isinstance(sample, RawSample) for sample in samples)
    return {(sample.origin, sample.label, sample.split) for sample in samples}


def test_the_first_folder_is_the_class_at_any_depth(place):
    location = place("cat/a.jpg", "cat/x/y/b.PNG", "dog/c.webp", "loose.gif")
    assert delivered(ImageFolder(), location) == {
        ("cat/a.jpg", "cat", ""),
        ("cat/x/y/b.PNG", "cat", ""),
        ("dog/c.webp", "dog", ""),
        ("loose.gif", None, ""),
    }


def test_train_and_test_folders_are_splits(place):
    location = place("train/cat/a.jpg", "test/cat/b.jpg", "test/c.jpg")
    assert delivered(ImageFolder(), location) == {
        ("train/cat/a.jpg", "cat", "train"),
        ("test/cat/b.jpg", "cat", "test"),
        ("test/c.jpg", None, "test"),
    }


@pytest.mark.parametrize("split", ["train", "VAL", "Valid", "validation", "test"])
@pytest.mark.parametrize("other", ["extra/b.jpg", "b.jpg", "b"])
@pytest.mark.parametrize("above", ["", "data/", "a/b/c/"])
def test_images_beside_a_split_are_refused_as_they_are_in_none(place, tmp_path, split, other, above):
    location = place(f"{above}{split}/cat/a.jpg", f"{above}{other}")
    (tmp_path / above / other).write_bytes(b"\xff\xd8\xff\xe0, as a JPEG begins")
    with pytest.raises(DataError) as refused:
        list(ImageFolder().samples(location))
    folder, _, name = other.rpartition("/")
    assert str(refused.value) == (
        f"data.location: {tmp_path.joinpath(above)} holds {split}/ beside {folder + '/' if folder else name}; move "
        "what is in no split away or into one, or set source_options.split_from to 'none' to take all folders as "
        "classes"
    )
    labels = {label for _, label, _ in delivered(ImageFolder(split_from="none"), location)}
    assert labels <= {split, "extra", None, *above.split("/")[:1]} and len(labels) <= 2


@pytest.mark.parametrize("beside", [("train/a.jpg", "test/b.jpg", "car/c.jpg"), ("val/a.jpg", "other/b.jpg")])
def test_no_split_is_a_class_unless_it_is_asked_for(place, beside):
    location = place(*beside)
    with pytest.raises(DataError, match=r"holds .* beside (car|other)/; .*source_options.split_from to 'none'"):
        list(ImageFolder().samples(location))
    classes = {name.partition("/")[0] for name in beside}
    assert {label for _, label, _ in delivered(ImageFolder(split_from="none"), location)} == classes


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["data/train/a.jpg", "data/val/b.jpg", "docs/x.jpg"], "has splits in data/ beside docs/; put the splits at"),
        (["data/train/a.jpg", "data/val/b.jpg", "x.jpg"], "has splits in data/ beside x.jpg; put the splits at the"),
        (["cat/train/a.jpg", "cat/test/b.jpg", "dog/c.jpg"], "has splits in cat/ beside dog/; put the splits at the"),
        (
            ["cat/train/a.jpg", "cat/test/b.jpg", "dog/train/c.jpg", "dog/test/d.jpg"],
            "has splits in cat/, dog/; put the splits at the top, as in test/cat/, or set source_options.split_from to",
        ),
        (["images/train/a.jpg", "masks/train/a.png"], "has splits in images/, masks/; put the splits at the top, as"),
        (["vehicles/train/a.jpg", "vehicles/car/b.jpg"], "vehicles holds train/ beside car/; move what is in no split"),
        (["train/cat/a.jpg", "train/test/b.jpg"], "train holds test/; move it up, or set source_options.split_from"),
        (["train/images/val/a.jpg", "train/labels/a.txt"], "images holds val/; move it up, or set source_options"),
        (["train/Train/test/a.jpg"], "Train holds test/; move it up, or set source_options.split_from to 'none'"),
        (["data/val/a.jpg", "data/Valid/b.jpg"], "data holds Valid/, val/; give each split one folder"),
    ],
)
def test_splits_where_they_are_ambiguous_are_refused_with_what_to_do(place, names, problem):
    location = place(*names)
    for ask in (lambda source: list(source.samples(location)), lambda source: source.note(location)):
        with pytest.raises(DataError) as refused:
            ask(ImageFolder())
        assert problem in str(refused.value)
    assert len(delivered(ImageFolder(split_from="none"), location)) == len([n for n in names if n[-3:] != "txt"])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["data/train/cat/a.jpg", "data/train/dog/b.jpg"], {("cat", "train"), ("dog", "train")}),
        (["a/b/train/cat/a.jpg", "a/b/TEST/dog/b.jpg"], {("cat", "train"), ("dog", "test")}),
        (["images/train/a.jpg", "images/val/b.jpg", "labels/train/a.txt"], {(None, "train"), (None, "test")}),
        (["cat/train/a.jpg", "cat/test/b.jpg"], {(None, "train"), (None, "test")}),
        (["data/train/cat/a.jpg", "data/val/cat/b.jpg", "docs/x.md"], {("cat", "train"), ("cat", "test")}),
        (["train/cat/a.jpg", "test/cat/b.jpg", "annotations/x.json"], {("cat", "train"), ("cat", "test")}),
        (["train/train/cat/a.jpg", "test/Test/b.jpg"], {("cat", "train"), (None, "test")}),
        (["pets/2024/cat/a.jpg"], {("pets", "")}),
    ],
)
def test_splits_one_level_down_are_splits_whatever_lies_beside_without_images(place, names, expected):
    found = delivered(ImageFolder(), place(*names))
    assert {(label, split) for _, label, split in found} == expected


def test_folders_that_lead_in_circles_hold_no_splits(place, tmp_path):
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    place("above/cat/a.jpg")
    (tmp_path / "above" / "cat" / "a.jpg").rename(tmp_path / "above" / "a.jpg")
    assert delivered(ImageFolder(), str(tmp_path)) == {("above/a.jpg", "above", "")}
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "loop").symlink_to(tmp_path / "loop", target_is_directory=True)
    assert ImageFolder().note(str(tmp_path / "loop")) == ""


def test_without_labels_no_folder_is_a_class(place):
    assert delivered(ImageFolder(label_from="none"), place("cat/a.jpg")) == {("cat/a.jpg", None, "")}


def test_a_class_of_a_folder_is_trimmed_like_one_of_a_table(place):
    location = place("cat /a.jpg", " cat/b.jpg", "cat/c.jpg", "  /d.jpg")
    assert {label for _, label, _ in delivered(ImageFolder(), location)} == {"cat", None}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *(
            ("cat_001.png", "cat"),
            ("cat.7.jpg", "cat"),
            ("cat (2).png", "cat"),
            ("cat12.png", "cat"),
            ("cat.png", "cat"),
        ),
        *(("great cat-3.png", "great cat"), ("7_00012.png", "7"), ("cat2_01.png", "cat2"), ("x/dog_1.png", "dog")),
    ],
)
def test_the_name_of_a_file_is_its_class_up_to_the_number_at_the_end(place, name, label):
    location = place(f"train/{name}", "test/00017.png")
    assert delivered(ImageFolder(label_from="file_name"), location) == {
        (f"train/{name}", label, "train"),
        ("test/00017.png", None, "test"),
    }


def test_a_pattern_finds_the_class_in_a_file_name(place):
    source = ImageFolder(label_from="file_name", label_pattern=r"_(?P<kind>[a-z]+)$")
    location = place("001_cat.png", "a/002_dog.png", "003.png")
    assert delivered(source, location) == {
        ("001_cat.png", "cat", ""),
        ("a/002_dog.png", "dog", ""),
        ("003.png", None, ""),
    }


def test_a_pattern_that_finds_nothing_is_refused_with_an_example(place):
    with pytest.raises(
        DataError, match=r"label_pattern: .* finds a class in no file name, such as 001\.png; correct it"
    ):
        list(ImageFolder(label_from="file_name").samples(place("001.png")))


def test_a_pattern_that_would_not_be_read_is_refused():
    with pytest.raises(
        SpecError, match=r"label_pattern '\(a\)' would not be read with label_from 'folder'; set label_from"
    ):
        SOURCES.build("image_folder", {"label_pattern": "(a)"}, field="data.source")


def test_options_of_0_1_0_are_taken_with_a_warning():
    with pytest.warns(FutureWarning) as warned:
        source = ImageFolder(labels="none", splits="from_folder")
    assert (source.label_from, source.split_from) == ("none", "folder")
    assert [str(warning.message) for warning in warned] == [
        "data.source_options.labels of image_folder is now 'label_from'; use {'label_from': 'none'} instead",
        "data.source_options.splits of image_folder is now 'split_from'; use {'split_from': 'folder'} instead",
    ]


def test_files_that_do_not_claim_to_be_images_are_passed_over(place):
    location = place("a.png", "README.txt", ".DS_Store", "._a.png", "LICENSE", ".git/b.png", "scan.tiff")
    assert {origin for origin, _, _ in delivered(ImageFolder(), location)} == {"a.png", "scan.tiff"}


def test_a_loop_of_links_is_walked_once(place, tmp_path):
    location = place("cat/a.jpg")
    (tmp_path / "cat" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert delivered(ImageFolder(), location) == {("cat/a.jpg", "cat", "")}
    assert len(ImageFolder().fingerprint(location)) == 64


def test_a_linked_folder_is_followed(place, tmp_path):
    place("elsewhere/a.jpg", "here/dog/b.jpg")
    (tmp_path / "here" / "cat").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert delivered(ImageFolder(), str(tmp_path / "here")) == {("cat/a.jpg", "cat", ""), ("dog/b.jpg", "dog", "")}


def test_a_name_that_is_not_utf8_is_escaped(place, tmp_path):
    place("cat/a.jpg")
    (tmp_path / "cat" / "a.jpg").rename(tmp_path / "cat" / b"caf\xe9.jpg".decode(errors="surrogateescape"))
    assert delivered(ImageFolder(), str(tmp_path)) == {("cat/caf\\xe9.jpg", "cat", "")}


def test_a_file_too_large_to_be_an_image_is_not_read(tmp_path):
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(MAX_PAYLOAD_BYTES + 1)  # Sparse: takes no space.
    (found,) = ImageFolder().samples(str(tmp_path))
    assert isinstance(found, Unreadable)
    assert "67,108,865 bytes" in found.detail


def test_a_change_of_content_name_or_place_changes_the_fingerprint(place, tmp_path):
    location = place("cat/a.jpg")
    seen = {ImageFolder().fingerprint(location)}
    (tmp_path / "cat" / "a.jpg").write_bytes(b"longer than before")
    seen.add(ImageFolder().fingerprint(location))
    (tmp_path / "cat" / "a.jpg").rename(tmp_path / "cat" / "b.jpg")
    seen.add(ImageFolder().fingerprint(location))
    assert len(seen) == 3


@pytest.mark.parametrize("ask", ["fingerprint", "samples"])
@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("", r"data.location is empty; give the folder"),
        ("/no/such/folder", r"there is no folder /no/such/folder; give"),
        (__file__, r"test_image_folder.py is a file; give the folder"),
    ],
)
def test_a_location_that_is_not_a_folder_is_an_error(ask, location, message):
    with pytest.raises(DataError, match=message):
        list(getattr(ImageFolder(), ask)(location))


def test_a_folder_without_images_is_an_error(place):
    with pytest.raises(DataError, match=r"has no image files at any depth"):
        ImageFolder().fingerprint(place("notes.txt"))


@pytest.mark.parametrize(
    ("closed", "message"),
    [
        ("", "the folder {root} cannot be listed (Permission denied); make it readable, or move it away"),
        ("dog", "the folder {root}/dog cannot be listed (Permission denied); make it readable, or move it away"),
        ("..", "{root} cannot be reached (Permission denied); make the folders above it readable, or give another"),
    ],
    ids=["itself", "one inside", "one above"],
)
def test_a_folder_that_may_not_be_read_is_an_error_and_not_a_gap(tmp_path, closed, message):
    root = tmp_path / "above" / "pets"
    for name in ("cat/a.jpg", "dog/b.jpg"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(b"")
    code = (
        "import sys\n"
        "from cl_core.data.sources.image_folder import ImageFolder\n"
        "for ask in (ImageFolder().fingerprint, lambda location: list(ImageFolder().samples(location))):\n"
        "    try: ask(sys.argv[1])\n"
        "    except ValueError as error: print(error)\n"
    )
    folder = (root / closed).resolve()
    folder.chmod(0)
    try:
        done = subprocess.run(
            [*obeying(), sys.executable, "-c", code, root], capture_output=True, text=True, check=True
        )
    finally:
        folder.chmod(0o700)
    assert done.stdout.splitlines() == [f"data.location: {message.format(root=root)}"] * 2


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "VAL", "Validation"])
@pytest.mark.parametrize("train", ["train", "Train", "TRAIN"])
def test_without_a_test_folder_the_validation_split_is_the_test_split(place, train, validation):
    location = place(f"{train}/cat/a.jpg", f"{train}/dog/b.jpg", f"{validation}/cat/c.jpg")
    assert delivered(ImageFolder(), location) == {
        (f"{train}/cat/a.jpg", "cat", "train"),
        (f"{train}/dog/b.jpg", "dog", "train"),
        (f"{validation}/cat/c.jpg", "cat", "test"),
    }
    assert ImageFolder().note(location) == f"{validation}/ is the test split"


def test_beside_a_test_folder_the_validation_split_is_trained_on(place):
    location = place("train/cat/a.jpg", "val/cat/b.jpg", "Test/cat/c.jpg")
    assert delivered(ImageFolder(), location) == {
        ("train/cat/a.jpg", "cat", "train"),
        ("val/cat/b.jpg", "cat", "train"),
        ("Test/cat/c.jpg", "cat", "test"),
    }
    assert ImageFolder().note(location) == "val/ is trained on, since there is a test split"


def test_splits_may_lie_in_the_only_folder_at_the_top(place):
    location = place("data/train/cat/a.jpg", "data/test/dog/b.jpg", "README.md")
    assert delivered(ImageFolder(), location) == {
        ("data/train/cat/a.jpg", "cat", "train"),
        ("data/test/dog/b.jpg", "dog", "test"),
    }
    assert ImageFolder().note(location) == ""


def test_a_folder_of_all_images_beside_annotations_is_no_class(place):
    location = place("train/images/a.jpg", "train/labels/a.txt", "val/images/cat/b.jpg", "val/labels/b.txt")
    assert delivered(ImageFolder(), location) == {
        ("train/images/a.jpg", None, "train"),
        ("val/images/cat/b.jpg", "cat", "test"),
    }


def test_a_class_of_that_name_beside_others_is_a_class(place):
    location = place("train/images/a.jpg", "train/drawings/b.jpg", "test/images/c.jpg", "test/drawings/d.jpg")
    assert {label for _, label, _ in delivered(ImageFolder(), location)} == {"images", "drawings"}


def test_two_folders_of_one_split_are_refused(place):
    location = place("train/a.jpg", "Train/b.jpg", "test/c.jpg")
    with pytest.raises(DataError, match="holds Train/, test/, train/; give each split one folder"):
        list(ImageFolder().samples(location))


def test_what_systems_put_beside_images_is_passed_over(place):
    location = place(
        *("cat/a.jpg", "__MACOSX/cat/._a.jpg", "__MACOSX/cat/a.jpg", "cat/@eaDir/a.jpg/SYNO.jpg", "cat/Thumbs.db"),
        *("lost+found/x.jpg", "$RECYCLE.BIN/y.jpg", "#recycle/z.jpg", "cat/.ipynb_checkpoints/a.jpg", ".DS_Store"),
        "System Volume Information/w.jpg",
    )
    assert delivered(ImageFolder(), location) == {("cat/a.jpg", "cat", "")}


def test_a_pipe_and_a_socket_are_unreadable_and_nothing_waits_for_them(place, tmp_path):
    location = place("cat/a.jpg")
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "cat" / "socket.jpg"))
        found = {sample.origin: sample for sample in ImageFolder().samples(location)}
    assert isinstance(found["cat/a.jpg"], RawSample)
    pipe, other = found["cat/pipe.jpg"], found["cat/socket.jpg"]
    assert isinstance(pipe, Unreadable) and pipe.detail == "it is not a file but a pipe"
    assert isinstance(other, Unreadable) and other.detail == "it is not a file but a socket"
    assert ImageFolder().find(location, {b"0" * 32: "cat/pipe.jpg"}) == {}
    assert ImageFolder().fingerprint(location)


@pytest.mark.parametrize("roots", [False, True])
def test_a_link_to_itself_is_unreadable_and_as_the_location_an_error(place, tmp_path, monkeypatch, roots):
    if roots:
        monkeypatch.setenv("CL_DATA_ROOTS", str(tmp_path))
    location = place("cat/a.jpg")
    (tmp_path / "cat" / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "loop").symlink_to("loop")
    found = {sample.origin: sample for sample in ImageFolder().samples(location)}
    assert isinstance(found["cat/loop.jpg"], Unreadable)
    assert found.keys() == {"cat/a.jpg", "cat/loop.jpg"}
    with pytest.raises(DataError, match=r"loop cannot be reached \(Too many levels of symbolic links\)"):
        ImageFolder().fingerprint(str(tmp_path / "loop"))


def test_content_decides_where_the_suffix_says_nothing(tmp_path):
    image, jpeg = Image.new("L", (2, 2)), io.BytesIO()
    image.save(jpeg, "JPEG")
    (tmp_path / "cat").mkdir()
    image.save(tmp_path / "cat" / "1.png")
    (tmp_path / "cat" / "2.dat").write_bytes(jpeg.getvalue())
    (tmp_path / "cat" / "3").write_bytes((tmp_path / "cat" / "1.png").read_bytes())
    image.save(tmp_path / "cat" / "4", "BMP")
    image.save(tmp_path / "cat" / "5.raw", "PPM")
    # Two letters that bitmaps begin with are those of a word.
    (tmp_path / "cat" / "notes.txt").write_text("BMW, P5 and others")
    (tmp_path / "cat" / "patients.txt").write_text("P1 10 20\nP2 7 8 9\n")
    found = {"cat/1.png", "cat/2.dat", "cat/3", "cat/4", "cat/5.raw"}
    assert {origin for origin, _, _ in delivered(ImageFolder(), str(tmp_path))} == found


def test_what_is_passed_over_is_counted(place, tmp_path):
    location = place("cat/1.png", "cat/2.png", "@eaDir/1.png", "__MACOSX/cat/._1.png", "cat/.DS_Store", ".cache/3.png")
    for name in ("labels.csv", "cat/a.csv", "cat/README", "Thumbs.DB"):
        (tmp_path / name).write_text("text")
    source = ImageFolder()
    for _ in range(2):
        assert {origin for origin, _, _ in delivered(source, location)} == {"cat/1.png", "cat/2.png"}
        counts = {".csv": 2, ".db": 1, "@eaDir": 1, "__MACOSX": 1, "hidden": 2, "no suffix": 1}
        assert source.passed_over() == counts


def test_pointers_of_git_lfs_are_passed_over_and_the_message_says_what_to_do(place, tmp_path):
    location = place("cat/1.png", "cat/2.jpg", "dog/3")
    for name in ("cat/2.jpg", "dog/3"):
        (tmp_path / name).write_text(LFS_POINTER)
    (tmp_path / "cat" / "4.jpg").write_text(LFS_POINTER + "x" * 2000)  # Too long to be a pointer.
    source = ImageFolder()
    assert {origin for origin, _, _ in delivered(source, location)} == {"cat/1.png", "cat/4.jpg"}
    assert source.passed_over() == {"Git LFS pointers (run `git lfs pull`)": 2}
    assert source.number_of_inputs(location) == 2
    with pytest.raises(DataError) as refused:
        source.fingerprint(str(tmp_path / "dog"))
    problem = f"the files below {tmp_path / 'dog'} are pointers of Git LFS; run `git lfs pull`"
    assert str(refused.value) == f"data.location: {problem}"
