"""The commands that use embeddings: search them by a sample, and show all on a map."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from pydantic import BaseModel, Field


class SearchHit(BaseModel):
    """A sample that was found."""

    rank: int = Field(description="1 is the nearest.")
    cosine: float = Field(description="Similarity of its embedding with the query's, -1 to 1.")
    id: str = Field(description="sha256 of the content.")
    label: str | None
    split: str | None
    origin: str = Field(description="File or row that it was embedded from.")


class SearchHits(BaseModel):
    """The result of a search."""

    hits: list[SearchHit] = Field(description="Nearest first.")
    page: Path = Field(description="HTML file that shows the samples.")
    missing: str = Field(description="Which samples could not be shown, and why; empty if all were.")


def search(
    file: Path,
    embeddings: Path | None = None,
    *,
    text: str = "",
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 24,
    output: Path = Path("search.html"),
) -> SearchHits:
    """Find the samples nearest to the one in a file, or to a text.

    Args:
        file: An image file, such as JPEG or PNG; of vectors a .npy or .csv file with one row; of texts a text file.
            It is left out with --text.
        embeddings: Parquet file that `cl embed` wrote. The sample is embedded by the version that made it.
        text: The text itself, in place of a file.
        count: Samples to find.
        output: HTML file to write, which shows the samples.
    """
    from cl_core.errors import InputError
    from tasks.embedding import search_embeddings

    if (embeddings is None) == (not text):
        raise InputError(
            "search takes a sample and the embeddings: `cl search FILE EMBEDDINGS`, or `cl search --text TEXT "
            f"EMBEDDINGS`; got {'--text and two files' if text else 'one file without --text'}"
        )
    searched, made = (text, file) if embeddings is None else (file, embeddings)
    found, missing = search_embeddings(searched, made, count=count, page=output)
    hits = [
        SearchHit(rank=rank, cosine=cosine, id=row.id, label=row.label, split=row.split, origin=row.origin)
        for rank, (row, cosine) in enumerate(found, start=1)
    ]
    return SearchHits(hits=hits, page=output.absolute(), missing=missing)


def atlas(
    embeddings: Path,
    *,
    umap: Annotated[bool, Parameter(negative=())] = False,
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65_535))] = 5055,
) -> None:
    """Open a map of the embeddings in the browser.

    Args:
        embeddings: Parquet file that `cl embed` wrote.
        umap: Place the samples by UMAP, which takes minutes, instead of by the plane of largest variance.
        port: Port of the map on this machine.
    """
    from flows.cli.environment import check_home
    from tasks.embedding import open_atlas

    check_home()
    sys.exit(open_atlas(embeddings, umap=umap, port=port))
