"""Embed a dataset with a registered model, into one Parquet file."""

from prefect import flow

import tasks.embedding
from cl_core.refs import EmbeddingsRef
from cl_core.specs import SourceSpec
from flows.parameters import ModelName, Output, VersionOrChampion, Workers
from tasks.runtime.hooks import FLOW


@flow(name="embed", **FLOW)
def embed(
    output: Output,
    *,
    model_name: ModelName,
    data: SourceSpec = SourceSpec(),
    version: VersionOrChampion = 0,
    workers: Workers = 0,
) -> EmbeddingsRef:
    """Embed a dataset with a registered model, into one Parquet file."""
    return tasks.embedding.embed(model_name, version, data, output, workers=workers)
