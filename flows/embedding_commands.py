"""The commands that use a finished model: on many images, on one, and on a map of all."""

from cl_core.specs import SourceSpec
from flows.app import app, prepare
from flows.parameters import ModelName, Output, VersionOrChampion, Workers


@app.command
def embed(
    output: Output,
    *,
    data: SourceSpec,
    model_name: ModelName = "fashion-mnist",
    version: VersionOrChampion = 0,
    workers: Workers = 1,
) -> None:
    """Write the embeddings of a folder, of Parquet files or of a snapshot to one Parquet file, and print its path.

    What is finished when it is stopped is kept, and the same command goes on from there.

    Args:
        output: Parquet file to write; what it holds of other embeddings is replaced.
        model_name: Name of the registered model.
        version: Number of the version; 0 is the champion, which users fetch.
        workers: Processes that decode images.
    """
    prepare()
    from flows.embed import embed as flow

    print(flow(output, data, model_name, version, workers).path)
