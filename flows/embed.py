"""A data set through a registered model, to Parquet."""

from prefect import flow

from cl_core.refs import EmbeddingsRef
from cl_core.specs import SourceSpec
from flows.parameters import ModelName, Output, VersionOrChampion, Workers
from tasks.embedding import embed as embed_images
from tasks.runtime.hooks import FLOW


@flow(name="embed", **FLOW)
def embed(
    output: Output,
    data: SourceSpec = SourceSpec(),
    model_name: ModelName = "fashion-mnist",
    version: VersionOrChampion = 0,
    workers: Workers = 1,
) -> EmbeddingsRef:
    """Write the embeddings of a folder, of Parquet files or of a snapshot to one Parquet file."""
    return embed_images(model_name, version, data, output, workers=workers)
