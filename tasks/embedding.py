"""Embedding a data set with a registered model, and finding what is alike, as tasks."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cl_core.data.path_roots import confined
from cl_core.embedding.writer import FinishedModel, write_embeddings
from cl_core.refs import EmbeddingsRef
from cl_core.specs import SourceSpec
from tasks.adapters.mlflow.environment import model_store
from tasks.runtime.artifacts import embedding_artifact
from tasks.runtime.console import bar_over
from tasks.runtime.step import log_outcome, step

if TYPE_CHECKING:
    from torch import nn


@step("embed")
def embed(model_name: str, version: int, data: SourceSpec, output: Path, *, workers: int) -> EmbeddingsRef:
    """Write the embedding of every image to one Parquet file, go on writing it, or find that it stands."""
    output, data = confined(output, field="output"), _in_place(data)
    model = finished_model(model_name, version)
    with bar_over("embed") as bar, embedding_artifact() as artifact:

        def show(done: int, inputs: int) -> None:
            bar(done, inputs)
            artifact(done, inputs)

        made = write_embeddings(model, data, output, workers=workers, on_progress=show)
    return EmbeddingsRef(
        path=output,
        model_uri=model.uri,
        training_digest=model.training_digest,
        rows=made.metadata.rows,
        dimensions=made.dimensions,
        quarantined=made.metadata.quarantined,
        note=log_outcome(made.reason),
    )


def finished_model(model_name: str, version: int) -> FinishedModel:
    """A registered version, 0 being the champion; its program is fetched when it is first used.

    Raises:
        InputError: When there is no such model or version, or no champion.
    """
    store = model_store()
    model = store.find(model_name, version)

    @cache
    def program() -> "nn.Module":
        return store.load(model)

    def embed_images(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            embeddings: NDArray[np.float32] = program()(torch.from_numpy(images)).numpy()
        return embeddings

    return FinishedModel(model.name, model.version, model.training_digest, store.image_shape(model), embed_images)


def _in_place(data: SourceSpec) -> SourceSpec:
    """The source with its whole path, so that its images are found from any folder later."""
    if not data.location:
        return data
    path = confined(data.location, field="data.location")
    return data.model_copy(update={"location": str(path)}) if path.exists() else data
