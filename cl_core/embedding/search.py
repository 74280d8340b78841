"""Search: find the rows of a file whose embeddings are nearest to a query's."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cl_core.data.sources import Source
from cl_core.embedding.embeddings_file import EmbeddedRow, EmbeddingsMetadata, embedding_groups, rows_at
from cl_core.errors import DataError, InputError
from cl_core.evaluation.nearest import nearest
from cl_core.modalities import Rejected
from cl_core.modalities._image_decoding import FORMATS, decode_image, to_shape
from cl_core.registry import SOURCES
from cl_core.specs import ValueRange


class Hit(NamedTuple):
    """A row of the result."""

    row: EmbeddedRow  # Of the file.
    cosine: float  # Similarity of its embedding with the query's, -1 to 1.


def nearest_rows(query: NDArray[np.float32], embeddings: Path, *, count: int) -> list[Hit]:
    """Return `count` rows of greatest cosine to a (D,) query, most similar first; of equal ones, the earlier row first.

    One row group of the file is in memory at a time.
    """
    best: list[tuple[float, int, int]] = []
    for group, vectors in enumerate(embedding_groups(embeddings)):
        neighbors = nearest(torch.from_numpy(query)[None], torch.from_numpy(vectors), k=min(count, len(vectors)))
        cosines, positions = neighbors.cosines[0].tolist(), neighbors.positions[0].tolist()
        best += ((cosine, group, position) for cosine, position in zip(cosines, positions, strict=True))
        best = sorted(best, key=lambda hit: -hit[0])[:count]
    rows = rows_at(embeddings, [(group, position) for _, group, position in best])
    return [Hit(row, cosine) for row, (cosine, _, _) in zip(rows, best, strict=True)]


def query_pixels(image: Path, shape: tuple[int, int, int], value_range: ValueRange | None = None) -> NDArray[np.uint8]:
    """Return an image file as (1, H, W, C) uint8, at the shape and with the range of values that a model takes.

    Raises:
        InputError: When the file cannot be read or decoded.
    """
    try:
        return np.array(to_shape(decode_image(image.read_bytes(), value_range)[0], shape))[None]
    except OSError as error:
        raise InputError(f"{image} cannot be read ({error.strerror}); give an image file") from error
    except Rejected as error:
        raise InputError(f"{image} cannot be decoded ({error.detail}); give a {', '.join(FORMATS)} file") from error


def find_pictures(hits: list[Hit], metadata: EmbeddingsMetadata) -> dict[str, bytes]:
    """Return the encoded images of hits, by id: of those that are still where they were embedded from."""
    origins = {bytes.fromhex(hit.row.id): hit.row.origin for hit in hits}
    try:
        source: Source = SOURCES.build(metadata.data.source, metadata.data.source_options, field="data.source")
        payloads = source.find(metadata.data.location, origins)
    except (DataError, OSError):
        # The whole source has gone; the embeddings can be searched without it.
        return {}
    return {sample.hex(): payload for sample, payload in payloads.items()}
