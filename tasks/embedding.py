"""Embed a dataset with a registered model; search the embeddings, and open them as a map."""

import shutil
import subprocess
import sys
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cl_core import artifact_dir
from cl_core.columns import Rows
from cl_core.data.path_roots import confined
from cl_core.embedding.embeddings_file import read_metadata
from cl_core.embedding.writer import FinishedModel, write_embeddings
from cl_core.errors import InputError
from cl_core.refs import EmbeddingsRef
from cl_core.specs import SourceSpec
from tasks.adapters.mlflow.connection import redacted_uri
from tasks.adapters.mlflow.model_store import model_store
from tasks.runtime.artifacts import embedding_artifact
from tasks.runtime.console import bar_over, echo
from tasks.runtime.process_environment import inherited
from tasks.runtime.settings import Settings
from tasks.runtime.step import log_outcome, step

if TYPE_CHECKING:
    from cl_core.embedding.classify import Classified
    from cl_core.embedding.search import Hit


@step("embed")
def embed(model_name: str, version: int, data: SourceSpec, output: Path, *, workers: int) -> EmbeddingsRef:
    """Write the embedding of every sample to one Parquet file, or resume it, unless the file is up to date."""
    output, data = confined(output, field="output"), _in_place(data)
    model = finished_model(model_name, version)
    artifact = embedding_artifact()
    with bar_over("embed") as bar:

        def show(done: int, inputs: int) -> None:
            bar(done, inputs, "")
            artifact(done, inputs)

        embedded = write_embeddings(model, data, output, workers=workers, on_progress=show)
    log_outcome(embedded.reason, cached=not embedded.new)
    return EmbeddingsRef(
        path=output,
        model_uri=model.uri,
        training_digest=model.training_digest,
        rows=embedded.metadata.rows,
        dimensions=embedded.dimensions,
        quarantined=embedded.metadata.quarantined,
    )


def finished_model(model_name: str, version: int) -> FinishedModel:
    """Find a registered version, 0 being the champion; its program is fetched when it is first used.

    Raises:
        InputError: When there is no such model or version, or no champion.
    """
    store = model_store()
    model = store.find(model_name, version)

    program = cache(partial(store.load, model))

    def embed_rows(rows: Rows, side: int = 0) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            embeddings: NDArray[np.float32] = program(side)(*map(torch.from_numpy, rows)).numpy()
        return embeddings

    takes = store.model_input(model)
    return FinishedModel(model.name, model.version, model.training_digest, takes, embed_rows, model.scale)


def _in_place(data: SourceSpec) -> SourceSpec:
    """Return the source with its absolute path, so that its samples are found from any folder later."""
    if not data.location:
        return data
    path = confined(data.location, field="data.location")
    return data.model_copy(update={"location": str(path)}) if path.exists() else data


_ATLAS = "embedding-atlas"


def search_embeddings(searched: Path | str, embeddings: Path, *, count: int, page: Path) -> "tuple[list[Hit], str]":
    """Find the rows nearest to a sample, with the model that made the embeddings; write a page of them.

    Args:
        searched: File with the sample, or a text.
        embeddings: What `embed` wrote.
        count: Rows to find.
        page: HTML file to write.

    Returns:
        The nearest first; and a sentence about samples that could not be found again, empty when all were found.

    Raises:
        InputError: When a file is missing or holds something else, the model takes no texts, or it is another one here.
    """
    # They bring torch, which importing the flow does not need.
    from cl_core.embedding.search import file_query, find_payloads, nearest_rows, text_query
    from cl_core.report.search_page import missing_sentence, search_page

    facts = read_metadata(embeddings)
    query = text_query(searched, facts.takes) if isinstance(searched, str) else file_query(searched, facts.takes)
    model = finished_model(facts.model_name, facts.model_version)
    if model.training_digest != facts.training_digest:
        here = redacted_uri(Settings.from_environment().tracking_uri)
        raise InputError(
            f"{embeddings} was made by {facts.model_uri} of training {facts.training_digest[:12]}, but here "
            f"{facts.model_uri} is of training {model.training_digest[:12] or 'unknown'}; set MLFLOW_TRACKING_URI to "
            f"the MLflow that it came from (now {here}), or embed the {facts.takes.kind.unit}s again"
        )
    hits = nearest_rows(model.embed(query.row, query.side)[0], embeddings, count=count)
    payloads = find_payloads((hit.row for hit in hits), facts.data, facts.takes.modality)
    page.parent.mkdir(parents=True, exist_ok=True)
    artifact_dir.write_text(page, search_page(query, embeddings, facts, hits, payloads))
    return hits, missing_sentence(hits, payloads, facts)


def classify_images(
    model: FinishedModel, data: SourceSpec, classes: list[str], templates: tuple[str, ...], *, table: Path, page: Path
) -> "Classified":
    """Classify the images of a source by the names of classes; write a table of probabilities and a page.

    Raises:
        InputError: When the model takes no texts, or a file or a template cannot be used.
        DataError: When no input is an image.
    """
    # They bring torch, which importing the flow does not need.
    from cl_core.embedding.classify import check_table_name, class_probabilities, write_classified
    from cl_core.embedding.search import find_payloads
    from cl_core.report.classes_page import classes_page, shown_rows

    check_table_name(table)
    with bar_over("classify") as bar:
        classified = class_probabilities(
            model, data, classes, templates, workers=0, on_progress=lambda done, inputs: bar(done, inputs, "")
        )
    write_classified(classified, table)
    rows = (classified.rows[row] for shown in shown_rows(classified).values() for row in shown)
    kind = model.takes.kind
    payloads = find_payloads(rows, data, model.takes.modality)
    page.parent.mkdir(parents=True, exist_ok=True)
    html = classes_page(classified, kind, payloads, model=model.uri, folder=data.location, table=table)
    artifact_dir.write_text(page, html)
    return classified


def open_atlas(embeddings: Path, *, umap: bool, port: int) -> int:
    """Serve the embeddings as a map for the browser until it is stopped; return Embedding Atlas's exit code.

    Raises:
        InputError: When the file holds something else, or Embedding Atlas is not installed.
    """
    from cl_core.embedding.plane import write_places

    facts = read_metadata(embeddings)
    program = _atlas_program()
    with tempfile.TemporaryDirectory(prefix="cl-atlas-") as folder:
        file, options = embeddings, ["--vector", "embedding"]
        if not umap:
            # The map shows the file's name with every point, so the copy keeps the name.
            file, options = Path(folder, embeddings.name), ["--x", "x", "--y", "y"]
            write_places(embeddings, file)
        echo("atlas", f"{facts.rows:,} embeddings by {facts.model_uri}; Ctrl-C ends the map")
        command = [program, str(file), *options, "--port", str(port)]
        with subprocess.Popen(command, env=inherited()) as atlas:  # noqa: S603 - looked up above
            try:
                return atlas.wait()
            except KeyboardInterrupt:
                # A terminal has sent it to both; a scheduler's SIGTERM reached only this process.
                atlas.terminate()
                return 0


def _atlas_program() -> str:
    """Return the command of this Python environment, else the first on the path."""
    beside = Path(sys.executable).with_name(_ATLAS)
    program = str(beside) if beside.exists() else shutil.which(_ATLAS)
    if program is None:
        raise InputError(
            "the map needs Embedding Atlas, which is not installed; install it with: "
            "pip install 'counterpoint[embedding-atlas]'"
        )
    return program
