"""Search: find the rows of a file whose embeddings are nearest to a query's."""

import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cl_core.columns import Rows
from cl_core.data.sources import built_source
from cl_core.data.sources._listing import file_kind
from cl_core.embedding.embeddings_file import EmbeddedRow, EmbeddingsMetadata, embedding_groups, rows_at
from cl_core.errors import DataError, InputError
from cl_core.evaluation.nearest import nearest
from cl_core.modalities import Rejected
from cl_core.modalities._model_input import ModelInput, model_row


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


def query_row(file: Path, takes: ModelInput) -> Rows:
    """Return the sample in a file, such as an image, as a batch of one that a model takes.

    Raises:
        InputError: When the file cannot be read or decoded, or is not a regular file.
    """
    modality = takes.kind
    try:
        if not stat.S_ISREG(mode := file.stat().st_mode):  # Opening a pipe would wait for its writer.
            raise InputError(f"{file} is a {file_kind(mode)}, not a file; give {modality.query}")
        row = model_row(modality.payload_of(file.read_bytes()), modality, takes.arrays)
        return tuple(np.array(part)[None] for part in row)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); give {modality.query}") from error
    except Rejected as error:
        raise InputError(f"{file} cannot be decoded ({error.detail}); give {modality.query}") from error


def find_payloads(hits: list[Hit], metadata: EmbeddingsMetadata) -> dict[str, bytes]:
    """Return the payloads of hits, by id: of those that are still where they were embedded from."""
    origins = {bytes.fromhex(hit.row.id): hit.row.origin for hit in hits}
    try:
        source = built_source(metadata.data, metadata.takes.modality)
        payloads = source.find(metadata.data.location, origins)
    except (DataError, OSError):
        # The whole source has gone; the embeddings can be searched without it.
        return {}
    return {sample.hex(): payload for sample, payload in payloads.items()}
