"""Nearest rows of a file, the page that shows them, and the plane of a map."""

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from embedding.conftest import SIZE, encoded, flat_unit_rows, model
from machine import CL, wait
from servers import free_port

from cl_core.embedding.embeddings_file import (
    EmbeddedRow,
    EmbeddingsMetadata,
    embeddings_table,
    read_metadata,
    write_embeddings_file,
)
from cl_core.embedding.plane import write_places
from cl_core.embedding.search import file_query, find_payloads, nearest_rows, text_query
from cl_core.embedding.writer import write_embeddings
from cl_core.errors import InputError
from cl_core.modalities._model_input import ModelInput
from cl_core.report.search_page import missing_sentence, search_page
from cl_core.specs import SourceSpec
from tasks.embedding import open_atlas


def payloads_of(hits, facts):
    return find_payloads((hit.row for hit in hits), facts.data, facts.takes.modality)


FACTS = EmbeddingsMetadata(
    digest="d" * 64,
    model_name="shoes",
    model_version=3,
    model_uri="models:/shoes/3",
    training_digest="3" * 64,
    takes=ModelInput(shape=(SIZE, SIZE, 3)),
    data=SourceSpec(location="/nowhere"),
    rows=1000,
    quarantined=0,
)


@pytest.fixture
def cloud(tmp_path):
    """A thousand random embeddings in row groups of 300, some of them equal, and the file that holds them."""
    vectors = np.random.default_rng(0).standard_normal((1000, 16)).astype(np.float32)
    vectors[[700, 350, 20]] = vectors[10]
    rows = [EmbeddedRow(f"{number:064x}", f"{number}.png", None, None) for number in range(1000)]
    starts = range(0, 1000, 300)
    tables = [embeddings_table(rows[start : start + 300], vectors[start : start + 300]) for start in starts]
    write_embeddings_file(tmp_path / "cloud.parquet", tables, FACTS)
    return tmp_path / "cloud.parquet", vectors


def test_the_nearest_are_those_of_greatest_cosine_and_the_earlier_of_equals(cloud):
    file, vectors = cloud
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    for query in (10, 999):
        cosines = unit @ unit[query]
        wanted = np.argsort(-np.round(cosines, 6), kind="stable")[:25]
        hits = nearest_rows(vectors[query], file, count=25)
        assert [hit.row.origin for hit in hits] == [f"{number}.png" for number in wanted]
        assert [hit.cosine for hit in hits] == pytest.approx(cosines[wanted], abs=1e-5)
    assert [hit.row.origin for hit in nearest_rows(vectors[10], file, count=4)] == [
        "10.png",
        "20.png",
        "350.png",
        "700.png",
    ]
    assert len(nearest_rows(vectors[0], file, count=2000)) == 1000


@pytest.fixture
def embedded(folder, tmp_path):
    output = tmp_path / "out.parquet"
    write_embeddings(model(), SourceSpec(location=str(folder)), output)
    return output


def found_by(image, embedded, count=5):
    facts = read_metadata(embedded)
    query = file_query(image, facts.takes)
    return facts, query, nearest_rows(flat_unit_rows(query.row)[0], embedded, count=count)


def test_the_page_needs_nothing_but_itself_and_shows_each_image_with_its_cosine(embedded, folder):
    image = folder / "sandal" / "5.png"
    facts, query, hits = found_by(image, embedded)
    assert [hit.row.origin for hit in hits[:2]] == ["sandal/5.png", "sandal/twin.png"]
    page = search_page(query, embedded, facts, hits, payloads_of(hits, facts))
    sources = re.findall(r'<img class="\w*" src="([^"]*)"', page)
    assert len(sources) == 6 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "<script" not in page
    assert [float(cosine) for cosine in re.findall(r'"cosine">([\d.]+)<', page)] == [
        pytest.approx(hit.cosine, abs=5e-4) for hit in hits
    ]
    assert page.count("the same image") == 2 and 'class="missing"' not in page
    assert "models:/shoes/3" in page and len(page) < 200_000


def test_images_that_have_gone_or_changed_are_named_and_counted_in_a_sentence(embedded, folder):
    image = folder / "sandal" / "5.png"
    facts, query, hits = found_by(image, embedded, count=7)
    (folder / "sandal" / "4.png").unlink()
    (folder / "boot" / "0.png").write_bytes(encoded(99, 8, 8))
    page = search_page(query, embedded, facts, hits, payloads_of(hits, facts))
    assert f"2 of 7 images are not shown: {folder} no longer holds the images that were embedded." in page
    assert page.count("no image") == 2 and "sandal/4.png" in page
    payload = image.read_bytes()
    shutil.rmtree(folder)
    assert missing_sentence(hits, payloads_of(hits, facts), facts).startswith("7 of 7 images are not shown")
    image.parent.mkdir(parents=True)
    image.write_bytes(payload)


def test_what_a_file_says_is_shown_as_text_and_not_as_markup(cloud, folder):
    file, vectors = cloud
    image = folder / "sandal" / "5.png"
    hits = [hit._replace(row=hit.row._replace(origin="<b>x</b>")) for hit in nearest_rows(vectors[0], file, count=3)]
    page = search_page(file_query(image, FACTS.takes), file, FACTS, hits, {})
    assert page.count("&lt;b&gt;x&lt;/b&gt;") == 3 and "<b>x</b>" not in page


@pytest.mark.parametrize(
    ("name", "message"), [("nowhere.png", "cannot be read"), ("text.jpg", "cannot be decoded .*; give a JPEG")]
)
def test_a_query_that_cannot_be_read_as_an_image_is_refused(tmp_path, name, message):
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(InputError, match=message):
        file_query(tmp_path / name, FACTS.takes)


@pytest.mark.parametrize("takes", [FACTS.takes, ModelInput(shape=(4,), modality="vector")])
def test_a_query_that_is_not_a_regular_file_is_refused_and_nothing_waits_for_it(tmp_path, takes):
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.png"))
    for file, what in {"pipe.png": "pipe", "socket.png": "socket", ".": "folder", "/dev/zero": "device"}.items():
        with pytest.raises(InputError) as refused:
            file_query(tmp_path / file, takes)
        assert str(refused.value) == f"{tmp_path / file} is a {what}, not a file; give {takes.kind.query}"


def test_the_plane_of_a_map_keeps_the_most_variance_two_directions_can(cloud, tmp_path):
    file, vectors = cloud
    write_places(file, tmp_path / "map.parquet")
    written = pq.read_table(tmp_path / "map.parquet")
    assert written.column_names == [*EmbeddedRow._fields, "x", "y"]
    assert written["origin"].to_pylist() == pq.read_table(file)["origin"].to_pylist()
    centered = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    greatest = np.linalg.svd(centered, compute_uv=False)[:2]
    places = np.stack([written["x"].to_numpy(), written["y"].to_numpy()])
    assert np.linalg.norm(places, axis=1) == pytest.approx(greatest, rel=1e-4)
    assert places @ places.T == pytest.approx(np.diag(greatest**2), abs=1e-2)


@pytest.mark.integration
def test_the_map_opens_on_this_machine_with_every_embedding_in_its_place_until_ctrl_c(cloud, tmp_path):
    port = free_port()
    arguments = ["atlas", str(cloud[0]), "--port", str(port)]
    atlas = subprocess.Popen(
        [CL, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CL_HOME": str(tmp_path / "home")},
        # A shell that runs the tests in the background makes them ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait(lambda: answers(f"http://localhost:{port}/"), 120, lambda: str(atlas.poll()))
        with urllib.request.urlopen(f"http://localhost:{port}/data/dataset.parquet") as answer:
            shown = pq.read_table(io.BytesIO(answer.read()))
        family = [psutil.Process(atlas.pid), *psutil.Process(atlas.pid).children(recursive=True)]
        listening = {one.laddr.ip for each in family for one in each.net_connections() if one.status == "LISTEN"}
    finally:
        atlas.send_signal(signal.SIGINT)
        try:
            said, _ = atlas.communicate(timeout=30)
        finally:
            atlas.kill()
    assert atlas.returncode == 0, said
    write_places(cloud[0], tmp_path / "places.parquet")
    places = pq.read_table(tmp_path / "places.parquet")
    assert {name: shown[name].to_pylist() for name in ("origin", "x", "y")} == {
        name: places[name].to_pylist() for name in ("origin", "x", "y")
    }
    assert listening <= {"127.0.0.1", "::1"}


def answers(address):
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
        return answer.status == 200
    return False


def test_without_embedding_atlas_the_command_that_installs_it_is_named(cloud, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(InputError, match=r"pip install 'counterpoint\[embedding-atlas\]'"):
        open_atlas(cloud[0], umap=False, port=5055)


def test_embeddings_that_are_no_file_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.parquet")
    for path, kind in ((tmp_path / "pipe.parquet", "pipe"), (tmp_path, "folder"), (Path("/dev/null"), "device")):
        with pytest.raises(InputError, match=f"is a {kind}, not a file; give one that `cl embed` wrote"):
            read_metadata(path)


def test_a_text_is_searched_for_without_a_file_where_the_model_takes_texts():
    takes = ModelInput(modality="text", shapes=((16,),))
    query = text_query(" the cat sat on the mat\n", takes)
    assert query.payload == b"the cat sat on the mat"
    assert query.row[0].tobytes() == b"the cat sat on t" and query.row[0].shape == (1, 16)
    for text, detail in ((" ", "no character that can be seen"), ("a\udce9", "not UTF-8"), ("a\0b", "NUL")):
        with pytest.raises(InputError, match=rf"^--text: .* cannot be searched for \(.*{detail}"):
            text_query(text, takes)
    with pytest.raises(InputError, match=r"^--text: the model takes .*images.*, not texts; give a JPEG"):
        text_query("a cat", FACTS.takes)
