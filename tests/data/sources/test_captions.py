"""Images with texts: beside each, in a table, in columns of Parquet, in tar files; and what lacks one of both."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.sources import RawSample, Source, Unreadable, built_source
from cl_core.errors import DataError, InputError, SpecError
from cl_core.modalities._payloads import parts_of
from cl_core.specs import DataSpec, SourceSpec


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


PICTURES = [picture(number) for number in range(6)]


def source(name: str, modality: str = "image_text", **options: object) -> Source:
    return built_source(SourceSpec(source=name, source_options=options), modality)


def found(one: Source, location: Path) -> tuple[list[tuple[bytes, bytes, str | None, str]], dict[str, str]]:
    """Image, text, label and split of each sample; the reason of each input without one, by origin."""
    inputs = list(one.samples(str(location)))
    samples = [(*parts_of(item.payload, 2), item.label, item.split) for item in inputs if isinstance(item, RawSample)]
    return samples, {item.origin: item.reason for item in inputs if isinstance(item, Unreadable)}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


# --- text files beside images


def test_a_text_beside_an_image_is_its_text_and_what_lacks_one_is_quarantined(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "train/cat/one.png": PICTURES[0],
            "train/cat/one.txt": "\ufeffa cat\n".encode(),
            # Names between those of an image and its text.
            "train/cat/one.more.png": PICTURES[1],
            "train/cat/one.more.txt": b"two cats",
            "train/cat/alone.png": PICTURES[2],
            "test/dog/b.JPG": PICTURES[3],
            "test/dog/b.TXT": b"a dog",
            "test/dog/lonely.txt": b"nothing to see",
        },
    )
    samples, aside = found(source("captioned_folder"), tmp_path)
    assert sorted(samples, key=lambda sample: sample[1]) == [
        (PICTURES[0], b"a cat", "cat", "train"),
        (PICTURES[3], b"a dog", "dog", "test"),
        (PICTURES[1], b"two cats", "cat", "train"),
    ]
    assert aside == {"train/cat/alone.png": "no_text", "test/dog/lonely.txt": "no_image"}
    assert source("captioned_folder").number_of_inputs(str(tmp_path)) == 5


def test_another_text_is_read_again_and_a_sample_is_found_again(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": PICTURES[0], "a.txt": b"first"})
    folder = source("captioned_folder")
    before, (entry,) = folder.fingerprint(str(tmp_path)), list(folder.listed(str(tmp_path)) or ())
    (sample,) = folder.samples(str(tmp_path))
    assert isinstance(sample, RawSample)
    (tmp_path / "a.txt").write_text("second text")
    assert folder.fingerprint(str(tmp_path)) != before
    assert next(iter(folder.listed(str(tmp_path)) or ())).state != entry.state
    (changed,) = folder.samples(str(tmp_path))
    assert isinstance(changed, RawSample) and parts_of(changed.payload, 2)[1] == b"second text"
    identity = hashlib.sha256(changed.payload).digest()
    assert folder.find(str(tmp_path), {identity: "a.png"}) == {identity: changed.payload}
    assert folder.find(str(tmp_path), {bytes(32): "a.png"}) == {}


def test_a_readme_beside_splits_is_no_image(tmp_path: Path) -> None:
    write(tmp_path, {"README.txt": b"read me", "train/a.png": PICTURES[0], "train/a.txt": b"a"})
    write(tmp_path, {"test/b.png": PICTURES[1], "test/b.txt": b"b"})
    samples, aside = found(source("captioned_folder"), tmp_path)
    assert [split for *_, split in samples] == ["test", "train"] or len(samples) == 2
    assert aside == {"README.txt": "no_image"}


# --- tables


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_table_names_images_and_their_texts(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, {f"images/{number}.png": PICTURES[number] for number in range(4)})
    rows = [
        ("images/0.png", "a red square", "red", "train"),
        ("images/0.png", "rot, quadratisch", "red", "train"),
        ("images/1.png", "a blue square", "blue", "test"),
        ("images/9.png", "it is not there", "blue", "test"),
        ("../elsewhere.png", "outside", "blue", "test"),
        ("images/2.png", None, "blue", "train"),
    ]
    names, table = ("path", "words", "kind", "part"), tmp_path / f"captions{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), table)
    elif suffix == ".jsonl":
        table.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    else:
        tab = "," if suffix == ".csv" else "\t"
        lines = [names, *rows]
        quoted = (tab.join(f'"{cell}"' if cell is not None else "" for cell in line) for line in lines)
        table.write_text("\n".join(quoted))
    options = {"file_column": "path", "text_column": "words", "label_column": "kind", "split_column": "part"}
    samples, aside = found(source("captions", **options), tmp_path)
    assert samples == [
        (PICTURES[0], b"a red square", "red", "train"),
        (PICTURES[0], b"rot, quadratisch", "red", "train"),
        (PICTURES[1], b"a blue square", "blue", "test"),
    ]
    name = table.name
    assert aside == {
        f"{name}#3": "no_image",
        f"{name}#4": "no_image",
        f"{name}#5": "no_text",
        "images/2.png": "no_text",
        "images/3.png": "no_text",
    }


def test_one_table_has_its_own_images_alone_and_no_name_is_too_long(tmp_path: Path) -> None:
    files = {"a.png": PICTURES[0], "b.png": PICTURES[1], "test.csv": b"file,caption\nb.png,other\n"}
    names = ["a.png,first", f"{'x' * 300}.png,too long", "http://example.com/a.png,an address", ",nothing"]
    write(tmp_path, {**files, "train.csv": "\n".join(["file,caption", *names]).encode()})
    table = tmp_path / "train.csv"
    samples, aside = found(source("captions"), table)
    assert [caption for _, caption, *_ in samples] == [b"first"]
    assert aside == {"train.csv#1": "unreadable", "train.csv#2": "no_image", "train.csv#3": "no_image"}
    before = source("captions").fingerprint(str(table))
    (tmp_path / "b.png").write_bytes(PICTURES[2])
    assert source("captions").fingerprint(str(table)) == before
    (tmp_path / "a.png").write_bytes(PICTURES[2])
    assert source("captions").fingerprint(str(table)) != before


def test_the_fingerprint_of_a_table_changes_with_its_images(tmp_path: Path) -> None:
    write(tmp_path, {"a.png": PICTURES[0], "captions.csv": b"file,caption\na.png,first\n"})
    before = source("captions").fingerprint(str(tmp_path))
    (tmp_path / "a.png").write_bytes(PICTURES[1])
    assert source("captions").fingerprint(str(tmp_path)) != before


def test_columns_that_are_missing_or_named_twice_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"captions.csv": b"file,words\na.png,first\n"})
    with pytest.raises(DataError, match=r"source_options.text_column: .*has no columns 'caption'; it has: file, words"):
        list(source("captions").samples(str(tmp_path)))
    with pytest.raises(SpecError, match="two options name the column 'file'; give each its own"):
        source("captions", text_column="file")


def test_no_name_and_no_link_leads_out_of_the_allowed_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "secret", {"a.png": PICTURES[0], "a.txt": b"secret"})
    folder = write(tmp_path / "data", {"captions.csv": b"file,caption\nlink/a.png,through a folder\nb.png,a link\n"})
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "b.png").symlink_to(tmp_path / "secret" / "a.png")
    assert len(found(source("captions"), folder)[0]) == 2
    monkeypatch.setenv("CL_DATA_ROOTS", str(folder))
    samples, aside = found(source("captions"), folder / "captions.csv")
    assert samples == [] and aside == {"captions.csv#0": "unreadable", "captions.csv#1": "unreadable"}
    with pytest.raises(InputError, match="outside the allowed folders"):
        found(source("captions"), folder)
    samples, _ = found(source("captioned_folder"), folder)
    assert samples == []
    tar(tmp_path / "secret" / "x.tar", {"a.png": PICTURES[0], "a.txt": b"a"})
    (folder / "x.tar").symlink_to(tmp_path / "secret" / "x.tar")
    with pytest.raises(InputError, match="outside the allowed folders"):
        source("webdataset").fingerprint(str(folder))


# --- Parquet


def test_columns_of_images_and_texts(tmp_path: Path) -> None:
    images = [{"bytes": PICTURES[0]}, {"bytes": PICTURES[1]}, {"bytes": None}, {"bytes": PICTURES[2]}]
    table = pa.table({"image": images, "text": ["first", "second", "third", None], "kind": [0, 1, 1, 0]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    one = source("parquet", label_column="kind")
    samples, aside = found(one, tmp_path)
    assert samples == [(PICTURES[0], b"first", "0", ""), (PICTURES[1], b"second", "1", "")]
    assert aside == {"pairs.parquet#2": "no_image", "pairs.parquet#3": "no_text"}
    whole = list(one.samples(str(tmp_path)))[1]
    assert isinstance(whole, RawSample)
    key = hashlib.sha256(whole.payload).digest()
    assert one.find(str(tmp_path), {key: whole.origin}) == {key: whole.payload}
    with pytest.raises(DataError, match=r"source_options.text_column: column 'kind' of .* is int64; expected text"):
        list(source("parquet", text_column="kind").samples(str(tmp_path)))
    with pytest.raises(SpecError, match=r"text_column: 'text' is read of image_text only"):
        source("parquet", "image", text_column="text")


# --- tar files


def tar(path: Path, files: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_files_of_one_name_in_a_tar_file_are_a_sample(tmp_path: Path) -> None:
    tar(
        tmp_path / "train-0000.tar",
        {
            "./0001.png": PICTURES[0],
            "./0001.txt": b"first\n",
            "./0001.cls": b"3",
            "0002.JPG": PICTURES[1],
            "0002.json": json.dumps({"caption": "second", "label": 4, "url": ["x"]}).encode(),
            "0003.png": PICTURES[2],
            "0003.cls": b"3",
            "0004.txt": b"no image",
            "folder/0004.png": PICTURES[3],
            # A mask, and what else a person keeps, is no image of the sample.
            "folder/0004.seg.png": PICTURES[5],
            "folder/0004.meta.json": b'{"caption": "of the mask"}',
            "folder/0004.txt": "\ufeffof another folder".encode(),
            "0005.png": PICTURES[5],
            "0005.PNG": PICTURES[4],
            "0005.txt": b"twice",
            "0006.jpg": PICTURES[0],
            "0006.png": PICTURES[1],
            "0006.txt": b"an image and its mask",
            "caf\udce9.png": PICTURES[5],
            "no_suffix": b"",
        },
    )
    tar(tmp_path / "val-0000.tar", {"a.png": PICTURES[4], "a.txt": b"of the test split", "a.json": b"{broken"})
    one = source("webdataset")
    samples, aside = found(one, tmp_path)
    assert samples == [
        (PICTURES[0], b"first", "3", "train"),
        (PICTURES[1], b"second", "4", "train"),
        (PICTURES[3], b"of another folder", None, "train"),
        (PICTURES[4], b"of the test split", None, "test"),
    ]
    assert aside == {
        "train-0000.tar#0003": "no_text",
        "train-0000.tar#0004": "no_image",
        "train-0000.tar#0005": "unreadable",
        "train-0000.tar#0006": "unreadable",
        r"train-0000.tar#caf\xe9": "no_text",
    }
    assert one.passed_over() == {"no suffix": 1, ".png": 1, ".json": 1}
    images = [
        item.payload for item in source("webdataset", "image").samples(str(tmp_path)) if isinstance(item, RawSample)
    ]
    assert images == [*PICTURES[:4], PICTURES[5], PICTURES[4]]


def test_a_broken_tar_file_is_refused_and_an_empty_folder_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no \.tar file at any depth"):
        source("webdataset").fingerprint(str(tmp_path))
    tar(tmp_path / "a.tar", {"a.png": PICTURES[0], "a.txt": b"a"})
    (tmp_path / "a.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:700])
    with pytest.raises(DataError, match=r"a\.tar cannot be read as a tar file"):
        list(source("webdataset").samples(str(tmp_path)))


def test_a_tar_file_that_ends_early_or_promises_too_much_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    tar(path, {f"{number}.{kind}": bytes(512) for number in range(4) for kind in ("png", "txt")})
    whole = path.read_bytes()
    header, content = tarfile.BLOCKSIZE, 512
    # Cut between two members, and a header damaged in the middle.
    for damaged in (whole[: 3 * (header + content)], whole[: 2 * (header + content)] + b"x" * 512 + whole[3072:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="cannot be read as a tar file"):
            list(source("webdataset").samples(str(path)))
    large = tarfile.TarInfo("0.png")
    large.size = 2**50
    path.write_bytes(large.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match=r"0\.png is cut off\); write it again"):
        list(source("webdataset").samples(str(path)))
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("0.png"), io.BytesIO())
    with pytest.raises(DataError, match=r"write it again, uncompressed"):
        list(source("webdataset").samples(str(path)))


# --- through ingestion


def test_equal_images_and_equal_texts_are_one_identity_and_never_in_two_splits(tmp_path: Path) -> None:
    """Ten images with two captions each, and a caption that five images share."""
    images = {f"{number}.png": picture(100 + number) for number in range(60)}
    rows = ["file,caption"]
    for number in range(60):
        rows.append(f"{number}.png,caption {number}")
        if number < 10:
            rows.append(f"{number}.png,another caption {number}")
        if 20 <= number < 25:
            rows.append(f"{number}.png,shared")
    write(tmp_path / "data", {**images, "captions.csv": "\n".join(rows).encode(), "odd.png": picture(999)})
    data = DataSpec(
        name="captioned",
        source="captions",
        location=str(tmp_path / "data"),
        modality="image_text",
        modality_options={"size": 8, "length": 32},
        test_share=0.4,
        min_train_samples=2,
    )
    snapshot = ingest_source(data, datasets=tmp_path / "datasets").snapshot
    assert sum(snapshot.rows.values()) == 75 and snapshot.quarantined == 1
    splits: dict[bytes, set[str]] = {}
    for split in ("train", "test"):
        for file in (snapshot.path / split).glob("*.parquet"):
            for row in pq.read_table(file).to_pylist():
                for part in (row["image"], row["text"]):
                    splits.setdefault(part, set()).add(split)
    assert all(len(of) == 1 for of in splits.values())
    (aside,) = pq.read_table(snapshot.path / "quarantine.parquet").to_pylist()
    assert (aside["origin"], aside["reason"]) == ("odd.png", "no_text")
