"""Folders of text files, each of which is one text: their classes, splits and what is passed over."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.sources import RawSample
from cl_core.data.sources.text_folder import TextFolder
from cl_core.errors import DataError
from cl_core.modalities._text_payloads import MAX_BYTES
from cl_core.specs import DataSpec


def written(folder: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return str(folder)


def test_a_file_is_one_text_of_the_class_that_its_folder_names(tmp_path: Path) -> None:
    files = {
        "train/spam/a.txt": b"\xef\xbb\xbf  Buy now!\nTwo lines.\n\n",
        "train/ham/b.TXT": "Grüße".encode(),
        "test/ham/deep/c.md": b"See you",
        "test/ham/d.png": b"\x89PNG",
        "train/ham/.e.txt": b"hidden",
    }
    source = TextFolder()
    found = {
        sample.origin: sample for sample in source.samples(written(tmp_path, files)) if isinstance(sample, RawSample)
    }
    assert {origin: (one.payload.decode(), one.label, one.split) for origin, one in found.items()} == {
        "train/spam/a.txt": ("Buy now!\nTwo lines.", "spam", "train"),
        "train/ham/b.TXT": ("Grüße", "ham", "train"),
        "test/ham/deep/c.md": ("See you", "ham", "test"),
    }
    assert source.passed_over() == {".png": 1, "hidden": 1}


def test_a_folder_of_texts_in_a_split_is_no_class(tmp_path: Path) -> None:
    location = written(tmp_path, {"train/texts/a.txt": b"one", "test/texts/b.txt": b"two"})
    assert {sample.label for sample in TextFolder().samples(location)} == {None}


def test_a_text_is_found_again_where_it_came_from(tmp_path: Path) -> None:
    location = written(tmp_path, {"a.txt": b" one \n", "b.txt": b"two"})
    first = ingested(location, tmp_path)["a.txt"]
    assert TextFolder().find(location, {first: "a.txt"}) == {first: b"one"}


def test_what_cannot_be_a_text_is_quarantined_with_its_reason(tmp_path: Path) -> None:
    files = {"a.txt": b"one", "b.txt": b"two", "latin.txt": b"caf\xe9", "blank.txt": b" \n", "nul.txt": b"a\0b"}
    files["large.txt"] = b"a" * (MAX_BYTES + 1)
    assert set(ingested(written(tmp_path / "texts", files), tmp_path)) == {"a.txt", "b.txt"}


def test_a_folder_without_texts_is_refused_with_the_suffixes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no text files at any depth \(names that end in \.txt, .*1 \.png.*texts"):
        TextFolder().fingerprint(written(tmp_path, {"a.png": b""}))


def ingested(location: str, folder: Path) -> dict[str, bytes]:
    """Ingest a folder, and return the id of each sample that was kept, by its origin."""
    data = DataSpec(name="texts", source="text_folder", location=location, modality="text")
    snapshot = ingest_source(data, datasets=folder / "datasets").snapshot
    rows = pq.read_table(snapshot.path / "sources.parquet").to_pylist()
    return {row["origin"]: row["id"] for row in rows}
