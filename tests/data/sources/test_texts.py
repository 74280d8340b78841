"""Texts of lines, tables and JSON lines: which are read, which are quarantined, and which files are refused."""

import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.sources import RawSample, Unreadable
from cl_core.data.sources.texts import TextFiles
from cl_core.errors import DataError, SpecError
from cl_core.modalities import parts_of
from cl_core.modalities._text_payloads import MAX_BYTES
from cl_core.specs import DataSpec

TEXTS = ["Hello, world", 'with "quotes", commas', "two\nlines", "世界", "<script>alert(1)</script>"]
LABELS = ["a", "b", "a", "b", None]


def written(folder: Path, suffix: str) -> Path:
    path = folder / f"texts{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"text": TEXTS, "kind": LABELS, "number": range(5)}), path)
    elif suffix == ".jsonl":
        rows = zip(TEXTS, LABELS, range(5), strict=True)
        lines = (json.dumps({"text": text, "kind": kind, "number": n, "more": [1]}) for text, kind, n in rows)
        path.write_text("\n".join(lines) + "\n\n")
    else:
        tab = "\t" if suffix == ".tsv" else ","
        rows = [["text", "kind", "number"], *zip(TEXTS, LABELS, map(str, range(5)), strict=True)]
        lines = (tab.join('"' + (cell or "").replace('"', '""') + '"' for cell in row) for row in rows)
        path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv", ".tsv"])
def test_each_row_is_a_text_with_its_label_and_group(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix)
    samples = list(TextFiles(label_column="kind").grouped_by("number").samples(str(path)))
    assert [sample.payload.decode() for sample in samples] == TEXTS
    assert [sample.label for sample in samples] == LABELS
    assert [sample.group for sample in samples] == list("01234")
    assert [sample.origin for sample in samples] == [f"texts{suffix}#{n}" for n in range(5)]


def test_each_line_of_a_text_file_is_a_text_and_blank_ones_are_none(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes("\ufefffirst\r\n\r\n  second \n\t\nlast".encode())
    samples = list(TextFiles().samples(str(path)))
    assert [(sample.payload, sample.origin) for sample in samples] == [
        (b"first", "lines.txt#0"),
        (b"  second ", "lines.txt#2"),
        (b"last", "lines.txt#4"),
    ]


def test_a_hundred_megabytes_in_one_line_are_rejected_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    with path.open("wb") as file:
        file.write(b"first\n")
        file.truncate(100 << 20)  # A hole in the file: zeros that no disk holds.
        file.seek(0, 2)
        file.write(b"\nlast\n")
    tracemalloc.start()
    first, long, last = (sample.payload for sample in TextFiles().samples(str(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (first, last) == (b"first", b"last") and len(long) == MAX_BYTES + 1
    assert peak < 8 * MAX_BYTES


def test_rows_without_a_text_are_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = ['{"text": "good"}', "{broken", "[1]", '{"text": 5}', '{"other": "x"}', '{"text": "\\ud800"}', "[" * 100_000]
    path.write_text("\n".join(rows))
    found = list(TextFiles().samples(str(path)))
    details = [sample.detail if isinstance(sample, Unreadable) else sample.payload for sample in found]
    assert details[0] == b"good" and details[5] == b"\xed\xa0\x80"
    for number, sentence in {
        1: "the line is not JSON",
        2: "the line holds no JSON object",
        3: "'text' is int; expected text",
        4: "column 'text' has no text in this row",
        6: "the line is not JSON",
    }.items():
        assert str(details[number]).startswith(sentence)


def test_broken_texts_are_quarantined_with_their_reasons(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"\n".join([*(b"good %d" % n for n in range(20)), b"caf\xe9", b"a\0b", "\u200b".encode()]))
    spec = DataSpec(
        name="t", source="texts", location=str(path), modality="text", min_train_samples=2, max_quarantined_share=0.5
    )
    snapshot = ingest_source(spec, datasets=tmp_path / "datasets").snapshot
    quarantine = pq.read_table(snapshot.path / "quarantine.parquet").to_pylist()
    reasons = {row["origin"].split("#")[1]: row["reason"] for row in quarantine}
    assert reasons == {"20": "damaged", "21": "damaged", "22": "empty"} and sum(snapshot.rows.values()) == 20


def test_text_that_is_not_utf8_in_a_table_is_one_row(tmp_path: Path) -> None:
    array = pa.array([b"good", b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table({"text": array}), tmp_path / "a.parquet")
    assert [sample.payload for sample in TextFiles().samples(str(tmp_path))] == [b"good", b"caf\xe9"]
    (tmp_path / "a.parquet").unlink()
    (tmp_path / "b.csv").write_bytes(b"text\ngood\ncaf\xe9\n")
    assert [sample.payload for sample in TextFiles().samples(str(tmp_path))] == [b"good", b"caf\xe9"]


def test_folders_of_splits_are_splits_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for split, text in (("train", "one\ntwo"), ("test", "three")):
        (tmp_path / split).mkdir()
        (tmp_path / split / "a.txt").write_text(text)
    (tmp_path / "train" / "notes.pdf").write_bytes(b"%PDF")
    source = TextFiles()
    found = {sample.payload: sample.split for sample in source.samples(str(tmp_path)) if isinstance(sample, RawSample)}
    assert found == {b"one": "train", b"two": "train", b"three": "test"}
    assert source.passed_over() == {".pdf": 1} and source.note("") == "splits are those of the folders test, train"


def test_columns_that_are_not_there_or_hold_no_text_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2], "kind": ["a", "b"]}), tmp_path / "numbers.parquet")
    (tmp_path / "lines.txt").write_text("a line")
    for file, options, sentence in (
        ("numbers.parquet", {"text_column": "body"}, r"^source_options.text_column: .* has no columns 'body'; it has:"),
        ("numbers.parquet", {}, r"^source_options.text_column: column 'text' of .* is int64; expected text"),
        ("numbers.parquet", {"label_column": "x"}, r"^source_options.label_column: .* has no columns 'x'"),
        ("lines.txt", {"label_column": "kind"}, r"^source_options.label_column: .* is a text file, whose lines have"),
    ):
        with pytest.raises(DataError, match=sentence):
            list(TextFiles(**options).samples(str(tmp_path / file)))
    with pytest.raises(ValidationError, match="text_column and label_column are both 'text'"):
        TextFiles(label_column="text")


def test_a_missing_file_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"give a file of texts \(.txt, .jsonl, .csv, .tsv or .parquet\)"):
        list(TextFiles().samples(str(tmp_path / "gone")))


PAIRS = [("what is it", "a boat"), ("who", "me"), ("où ?", "世界\nthere")]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_each_row_is_a_pair_of_the_texts_in_two_columns(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    questions, answers = map(list, zip(*PAIRS, strict=True))
    columns = {"question": questions, "answer": answers}
    if suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif suffix == ".csv":
        pa.csv.write_csv(pa.table(columns), path)
    else:
        path.write_text("\n".join(json.dumps({"question": one, "answer": other}) for one, other in PAIRS))
    source = TextFiles(text_column="question", second_column="answer").delivering("text_pair")
    samples = list(source.samples(str(path)))
    assert [tuple(part.decode() for part in parts_of(sample.payload, 2)) for sample in samples] == PAIRS


def test_a_pair_without_one_of_its_texts_is_quarantined_with_the_name_of_its_column(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"text": "a"}\n{"second": "b"}\n{"text": "a", "second": 3}\n{"text": "a", "second": "b"}')
    *bad, good = TextFiles().delivering("text_pair").samples(str(path))
    assert [one.detail for one in bad] == [
        "column 'second' has no text in this row",
        "column 'text' has no text in this row",
        "'second' is int; expected text",
    ]
    assert parts_of(good.payload, 2) == (b"a", b"b")


def test_files_without_the_second_column_are_refused_and_so_is_the_option_for_single_texts(tmp_path: Path) -> None:
    lines, table = tmp_path / "lines.txt", tmp_path / "table.csv"
    lines.write_text("a line\n")
    table.write_text("text,answer\na,b\n")
    pairs = TextFiles().delivering("text_pair")
    with pytest.raises(DataError, match=r"second_column: .*lines.txt is a text file, whose lines have no column 's"):
        list(pairs.samples(str(lines)))
    with pytest.raises(DataError, match=r"second_column: .*table.csv has no columns 'second'; it has: text, answer"):
        list(pairs.samples(str(table)))
    with pytest.raises(
        SpecError, match=r"second_column: 'answer' is read of text_pair only, and data.modality is text"
    ):
        TextFiles(second_column="answer").delivering("text")
    with pytest.raises(ValidationError, match=r"text_column and second_column are both 'text'"):
        TextFiles(second_column="text")
