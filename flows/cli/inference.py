"""The commands that use a finished model: on many images, on one, and on a map of all."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from cl_core.specs import SourceSpec
from flows.cli.app import app, prepare
from flows.parameters import ModelName, Output, VersionOrChampion, Workers


@app.command
def embed(
    output: Output,
    *,
    data: SourceSpec = SourceSpec(),
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


@app.command
def search(
    image: Path,
    embeddings: Path,
    *,
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 24,
    output: Path = Path("search.html"),
) -> None:
    """Find the images nearest to an image; print them as a table, and write a page that shows them.

    Args:
        image: An image file: JPEG, PNG, WebP or GIF.
        embeddings: Parquet file that `cl embed` wrote. The image is embedded by the very version that made it.
        count: How many are shown.
        output: HTML file to write.
    """
    prepare(server=False)
    from flows.cli.render import show_hits
    from tasks.embedding import search_embeddings as find

    found = find(image, embeddings, count=count, page=output)
    show_hits(found.hits)
    if found.missing:
        print(found.missing)
    print(found.page)


@app.command
def atlas(
    embeddings: Path,
    *,
    umap: Annotated[bool, Parameter(negative=())] = False,
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65_535))] = 5055,
) -> None:
    """Open a map of the embeddings with Embedding Atlas, until Ctrl-C.

    Args:
        embeddings: Parquet file that `cl embed` wrote.
        umap: Place the images by UMAP, which takes minutes, instead of on the plane of largest variance.
        port: Where the map is served on this machine.
    """
    prepare(server=False)
    from tasks.embedding import open_atlas

    sys.exit(open_atlas(embeddings, umap=umap, port=port))
