"""Finding what is alike: the rows of a file whose embeddings are nearest to a query's."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cl_core.data.sources import Source
from cl_core.embedding.embeddings_file import EmbeddedRow, EmbeddingFacts, embedding_groups, rows_at
from cl_core.errors import DataError, InputError
from cl_core.evaluation.nearest import nearest
from cl_core.modalities.image import Rejected, decode_image, to_shape
from cl_core.registry import SOURCES


class Hit(NamedTuple):
    """A row that was found.

    Args:
        row: What the file says of it.
        cosine: Similarity of its embedding with the query's, -1 to 1.
    """

    row: EmbeddedRow
    cosine: float


def nearest_rows(query: NDArray[np.float32], embeddings: Path, *, count: int) -> list[Hit]:
    """The rows of greatest cosine, most similar first; the earlier row where cosines are equal.

    Args:
        query: (D,) float32.
        embeddings: The file; a row group of it is in memory at a time.
        count: At most so many.
    """
    best: list[tuple[float, int, int]] = []
    for group, vectors in enumerate(embedding_groups(embeddings)):
        found = nearest(torch.from_numpy(query)[None], torch.from_numpy(vectors), k=min(count, len(vectors)))
        cosines, positions = found.cosines[0].tolist(), found.positions[0].tolist()
        best += ((cosine, group, position) for cosine, position in zip(cosines, positions, strict=True))
        best = sorted(best, key=lambda one: -one[0])[:count]
    rows = rows_at(embeddings, [(group, position) for _, group, position in best])
    return [Hit(row, cosine) for row, (cosine, _, _) in zip(rows, best, strict=True)]


def query_pixels(image: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """(1, H, W, C) uint8: an image file, brought to the shape that a model takes.

    Raises:
        InputError: When there is no such file, or it is no image.
    """
    try:
        return np.array(to_shape(decode_image(image.read_bytes())[0], shape))[None]
    except OSError as error:
        raise InputError(f"{image} cannot be read ({error.strerror}); give an image file") from error
    except Rejected as error:
        raise InputError(f"{image} is no usable image ({error.detail}); give a JPEG, PNG, WebP or GIF file") from error


def pictures(hits: list[Hit], facts: EmbeddingFacts) -> dict[str, bytes]:
    """The encoded images of what was found, by id: of those that are still where they were embedded from."""
    wanted = {bytes.fromhex(hit.row.id): hit.row.origin for hit in hits}
    try:
        source: Source = SOURCES.build(facts.data.source, facts.data.source_options, field="data.source")
        found = source.find(facts.data.location, wanted)
    except (DataError, OSError):
        # The place has gone as a whole; the embeddings are worth their search all the same.
        return {}
    return {sample.hex(): payload for sample, payload in found.items()}
