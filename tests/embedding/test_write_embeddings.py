"""Embedding many images to one Parquet file: its content, resumption, reuse, and memory."""

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedding.conftest import SIZE, encoded, flat_unit_rows, model
from PIL import Image

from cl_core.data.cache import build_cache, load_split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.embedding import batches
from cl_core.embedding.embeddings_file import EmbeddingsMetadata, read_metadata
from cl_core.embedding.search import file_query
from cl_core.embedding.writer import write_embeddings
from cl_core.errors import DataError, InputError
from cl_core.modalities._model_input import ModelInput
from cl_core.modalities.image import Images
from cl_core.specs import DataSpec, SourceSpec

# Where processes find these modules.
TESTS = Path(__file__).parents[1]

COLUMNS = ["id", "origin", "label", "split", "embedding"]


def of_folder(path: Path) -> SourceSpec:
    return SourceSpec(location=str(path))


def shapes(count: int, **options: object) -> SourceSpec:
    return SourceSpec(source="synthetic", source_options={"count": count, "size": SIZE, "channels": 3, **options})


def test_each_image_gets_a_row_with_its_id_origin_label_and_embedding(folder, tmp_path):
    made = write_embeddings(model(), of_folder(folder), tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == COLUMNS
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), SIZE * SIZE * 3)
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert list(frame.origin) == [*(f"sandal/{name}.png" for name in ("3", "4", "5", "twin"))] + [
        f"boot/{name}.png" for name in "012"
    ]
    assert list(frame.label) == ["sandal"] * 4 + ["boot"] * 3
    assert frame.split.isna().all()
    assert frame.id[2] == frame.id[3] and frame.id.nunique() == 6
    assert np.linalg.norm(np.stack(frame.embedding), axis=1) == pytest.approx(np.ones(7))
    assert (made.new, made.metadata.rows, made.metadata.quarantined, made.dimensions) == (True, 7, 2, SIZE * SIZE * 3)


def test_images_come_to_the_models_size_exactly_as_in_training(folder, tmp_path):
    write_embeddings(model(), of_folder(folder), tmp_path / "out.parquet")
    spec = DataSpec(name="shoes", source="image_folder", location=str(folder), image_size=SIZE)
    snapshot = ingest_source(spec, datasets=tmp_path / "datasets").snapshot
    cache = build_cache(snapshot, Images(size=SIZE), caches=tmp_path / "caches")
    trained = {}
    for split in ("train", "test"):
        loaded = load_split(cache, split)
        trained |= dict(
            zip(
                (row.tobytes().hex() for row in loaded.ids),
                flat_unit_rows(loaded.columns.take(slice(None))),
                strict=True,
            )
        )
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert len(trained) == 6
    for sample, embedding in zip(frame.id, frame.embedding, strict=True):
        np.testing.assert_array_equal(embedding, trained[sample])


def test_a_color_image_becomes_its_luma_for_a_model_of_gray_ones(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(encoded(1, SIZE, SIZE))
    seen = []
    write_embeddings(
        model(lambda columns: seen.extend(columns) or flat_unit_rows(columns), channels=1),
        of_folder(tmp_path / "in"),
        tmp_path / "out.parquet",
    )
    colors = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    np.testing.assert_allclose(seen[0][0, :, :, 0], colors @ [0.299, 0.587, 0.114], atol=1)


def test_unreadable_inputs_are_in_a_file_beside_with_their_reason_and_counted(folder, tmp_path):
    made = write_embeddings(model(), of_folder(folder), tmp_path / "out.parquet")
    rows = pq.read_table(tmp_path / "out.quarantine.parquet").to_pylist()
    assert {(row["origin"], row["reason"]) for row in rows} == {
        ("sandal/cut.png", "damaged"),
        ("boot/text.jpg", "not_an_image"),
    }
    assert f"; 2 inputs that could not be decoded are listed in {tmp_path / 'out.quarantine.parquet'}" in made.reason


def test_a_folder_without_a_usable_image_is_refused_with_an_example(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_text("no image")
    with pytest.raises(DataError, match=r"none of the 1 inputs .* is a usable image; for example a\.png: starts with"):
        write_embeddings(model(), of_folder(tmp_path / "in"), tmp_path / "out.parquet")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_the_file_says_which_model_and_which_images_and_nothing_of_where_mlflow_is(folder, tmp_path):
    write_embeddings(model(), of_folder(folder), tmp_path / "out.parquet")
    facts = read_metadata(tmp_path / "out.parquet")
    assert (facts.model_uri, facts.model_version, facts.training_digest) == ("models:/shoes/3", 3, "3" * 64)
    assert facts.data == of_folder(folder) and facts.takes.shapes == ((SIZE, SIZE, 3),)
    names = pq.read_metadata(tmp_path / "out.parquet").metadata.keys() - {b"ARROW:schema"}
    assert names == {b"counterpoint", b"counterpoint.sha256"}


def test_a_snapshot_is_embedded_with_its_labels_splits_and_origins(folder, tmp_path):
    spec = DataSpec(name="shoes", source="image_folder", location=str(folder), test_share=0.5)
    snapshot = ingest_source(spec, datasets=tmp_path / "datasets").snapshot
    data = SourceSpec(source="snapshot", location=str(snapshot.path))
    write_embeddings(model(), data, tmp_path / "out.parquet")
    frame = pd.read_parquet(tmp_path / "out.parquet")
    sources = pq.read_table(snapshot.path / "sources.parquet").to_pylist()
    origins = {row["id"].hex(): row["origin"] for row in reversed(sources)}
    assert dict(zip(frame.id, frame.origin, strict=True)) == origins
    assert dict(frame.split.value_counts()) == {split: rows for split, rows in snapshot.rows.items() if rows}
    assert [origin.partition("/")[0] for origin in frame.origin] == list(frame.label)


KILLED = """
import os, signal, sys
from pathlib import Path
from embedding.conftest import model, flat_unit_rows
from embedding.test_write_embeddings import shapes
from cl_core.embedding.writer import write_embeddings

batches = 0
def embed(images):
    global batches
    batches += 1
    if batches == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return flat_unit_rows(images)

write_embeddings(model(embed), shapes(3000), Path(sys.argv[1]))
"""


@pytest.mark.integration
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.sweep), 2])
def test_a_killed_run_resumes_and_ends_with_the_bytes_of_an_uninterrupted_one(tmp_path, workers):
    """Killed at the 7th batch of 256: the first part, of 1,024 inputs, is finished and the second is not."""
    undisturbed, resumed = tmp_path / "undisturbed.parquet", tmp_path / "resumed.parquet"
    write_embeddings(model(), shapes(3000), undisturbed)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(resumed)], check=False, cwd=TESTS)
    assert killed.returncode == -signal.SIGKILL and not resumed.exists()
    embedded, progress = [], []
    made = write_embeddings(
        model(lambda columns: embedded.append(len(columns[0])) or flat_unit_rows(columns)),
        shapes(3000),
        resumed,
        workers=workers,
        on_progress=lambda done, inputs: progress.append((done, inputs)),
    )
    assert sum(embedded) == 3000 - 1024
    assert re.search(r"models:/shoes/3 embedded 3,000 images into \S+, 1,024 of them in an earlier run", made.reason)
    assert progress[0] == (1024, 3000) and progress[-1] == (3000, 3000)
    assert resumed.read_bytes() == undisturbed.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {undisturbed.name, resumed.name}


@pytest.mark.integration
def test_a_damaged_part_is_made_again(tmp_path):
    output = tmp_path / "out.parquet"
    subprocess.run([sys.executable, "-c", KILLED, str(output)], check=False, cwd=TESTS)
    [rows] = tmp_path.glob("out.parquet.parts/*/part-000000/rows.parquet")
    rows.write_bytes(rows.read_bytes()[:-9] + b"x" + rows.read_bytes()[-8:])
    made = write_embeddings(model(), shapes(3000), output)
    assert "in an earlier run" not in made.reason
    assert pq.read_table(output).num_rows == 3000


@pytest.mark.integration
def test_parts_of_another_model_are_not_taken(tmp_path):
    output = tmp_path / "out.parquet"
    subprocess.run([sys.executable, "-c", KILLED, str(output)], check=False, cwd=TESTS)
    made = write_embeddings(model(version=4), shapes(3000), output)
    assert "in an earlier run" not in made.reason and not list(tmp_path.glob("*.parts"))


def test_a_file_of_the_same_model_and_images_is_reused_and_the_model_is_not_asked(folder, tmp_path):
    output = tmp_path / "out.parquet"
    first = write_embeddings(model(), of_folder(folder), output)
    again = write_embeddings(model(embed=None), of_folder(folder), output)
    assert not again.new and again.metadata == first.metadata
    assert again.reason.startswith(f"{output} is up to date (images, models:/shoes/3 and code unchanged)")


def test_a_new_image_a_newer_version_and_a_damaged_byte_are_reasons_to_embed_anew(folder, tmp_path):
    output = tmp_path / "out.parquet"
    write_embeddings(model(), of_folder(folder), output)
    (folder / "boot" / "new.png").write_bytes(encoded(9, 8, 8))
    grown = write_embeddings(model(), of_folder(folder), output)
    assert grown.metadata.rows == 8 and "replaced the embeddings of 7 images by models:/shoes/3" in grown.reason
    newer = write_embeddings(model(version=4), of_folder(folder), output)
    assert newer.new and read_metadata(output).model_version == 4
    whole = output.read_bytes()
    output.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    mended = write_embeddings(model(version=4), of_folder(folder), output)
    assert "; replaced a damaged file (" in mended.reason and output.read_bytes() == whole


def test_a_file_of_something_else_is_left_alone(folder, tmp_path):
    for name, write in {
        "text.parquet": lambda path: path.write_text("text"),
        "table.parquet": lambda path: pq.write_table(pa.table({"a": [1]}), path),
    }.items():
        write(tmp_path / name)
        before = (tmp_path / name).read_bytes()
        with pytest.raises(InputError, match=f"{name} was not written by `cl embed`"):
            write_embeddings(model(), of_folder(folder), tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


PEAK = """
import sys
from pathlib import Path
import numpy as np
from embedding.conftest import model
from embedding.test_write_embeddings import shapes
from cl_core.embedding.writer import write_embeddings

wide = np.random.default_rng(0).standard_normal((192, 1024), dtype=np.float32)
wider = model(lambda columns: columns[0].reshape(len(columns[0]), -1) @ wide)
write_embeddings(wider, shapes(int(sys.argv[1])), Path(sys.argv[2]))
# Unlike `ru_maxrss` it does not begin with the memory of the process that started this one.
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024)
"""


@pytest.mark.sweep
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """Six times the images hold 160 MiB more of embeddings; what allocators keep for later is the rest."""

    def peak_mib(count: int) -> int:
        command = [sys.executable, "-c", PEAK, str(count), str(tmp_path / f"{count}.parquet")]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=TESTS).stdout)

    assert peak_mib(49_152) < peak_mib(8_192) + 96


def test_inputs_of_one_part_are_a_row_group(tmp_path):
    write_embeddings(model(), shapes(1100), tmp_path / "out.parquet")
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [
        batches.PART_INPUTS,
        1100 - batches.PART_INPUTS,
    ]


def test_images_are_stretched_by_the_range_of_the_model_and_another_range_is_another_file(tmp_path):
    (tmp_path / "in").mkdir()
    values = np.random.default_rng(2).integers(0, 4096, (SIZE, SIZE), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "in" / "a.png")
    seen, output = [], tmp_path / "out.parquet"
    ranged = replace(
        model(lambda columns: seen.extend(columns) or flat_unit_rows(columns), channels=1),
        takes=ModelInput(shape=(SIZE, SIZE, 1), hidden={"value_range": [0, 4095]}),
    )
    write_embeddings(ranged, of_folder(tmp_path / "in"), output)
    levels = np.floor(values.astype(np.float64) / 4095 * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(seen[0][0, :, :, 0], levels)
    assert read_metadata(output).takes == ranged.takes
    # A search reads the range from the file.
    (query,) = file_query(tmp_path / "in" / "a.png", read_metadata(output).takes).row
    np.testing.assert_array_equal(query[0, :, :, 0], levels)
    assert not write_embeddings(ranged, of_folder(tmp_path / "in"), output).new
    full = replace(ranged, takes=ModelInput(shape=(SIZE, SIZE, 1)))
    assert write_embeddings(full, of_folder(tmp_path / "in"), output).new


def test_the_metadata_that_version_0_1_0_wrote_are_read(folder, tmp_path):
    """They name the shape of the images and the range of values, and no modality."""
    output = tmp_path / "out.parquet"
    write_embeddings(model(), of_folder(folder), output)
    now = json.loads(read_metadata(output).model_dump_json())
    del now["takes"]
    for value_range, hidden in ((None, {}), ([0, 4095], {"value_range": [0, 4095]})):
        then = EmbeddingsMetadata.model_validate(now | {"image_shape": [SIZE, SIZE, 3], "value_range": value_range})
        assert then.takes == ModelInput(modality="image", shape=(SIZE, SIZE, 3), hidden=hidden)
