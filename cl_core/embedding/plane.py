"""Project embeddings onto the two directions of largest variance, in two passes over the file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cl_core.embedding.embeddings_file import EmbeddedRow, dimensions, embedding_groups


def write_places(embeddings: Path, output: Path) -> None:
    """Write the rows of a file of embeddings, in their order, with their place on the plane instead of the embedding.

    The columns `x` and `y` are float32. One row group of the file is in memory at a time.
    """
    mean, directions = _principal_plane(embeddings)
    with pq.ParquetFile(embeddings) as file:
        texts = pa.schema([file.schema_arrow.field(name) for name in EmbeddedRow._fields])
        columns = pa.schema([*texts, pa.field("x", pa.float32()), pa.field("y", pa.float32())])
        with pq.ParquetWriter(output, columns) as writer:
            for group, vectors in enumerate(embedding_groups(embeddings)):
                rows = file.read_row_group(group, columns=EmbeddedRow._fields)
                places = ((vectors - mean) @ directions).astype(np.float32)
                arrays = [*rows.columns, *(pa.array(column) for column in places.T)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=columns))


def _principal_plane(embeddings: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean (D,) and the two directions (D, 2) of largest variance."""
    width = dimensions(embeddings)
    count, total, products = 0, np.zeros(width), np.zeros((width, width))
    for vectors in embedding_groups(embeddings):
        wide = vectors.astype(np.float64)
        count += len(wide)
        total += wide.sum(axis=0)
        products += wide.T @ wide
    mean = total / count
    _, directions = np.linalg.eigh(products / count - np.outer(mean, mean))
    plane = np.zeros((width, 2))
    plane[:, : min(2, width)] = directions[:, ::-1][:, :2]
    # The sign of a direction is arbitrary; a positive largest entry fixes it.
    return mean, plane * np.where(plane[np.abs(plane).argmax(axis=0), [0, 1]] < 0, -1, 1)
