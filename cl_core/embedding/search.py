"""Search: find the rows of a file whose embeddings are nearest to a query's."""

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cl_core.columns import Rows
from cl_core.data.sources import built_source
from cl_core.data.sources._listing import file_kind
from cl_core.embedding.embeddings_file import EmbeddedRow, embedding_groups, rows_at
from cl_core.errors import DataError, InputError
from cl_core.evaluation.nearest import nearest
from cl_core.modalities import Modality, Rejected
from cl_core.modalities._model_input import ModelInput, model_row
from cl_core.specs import SourceSpec

_TEXT = "text"


class Query(NamedTuple):
    """The sample that is searched for."""

    name: str  # For titles: that of its file.
    payload: bytes
    row: Rows  # A batch of one that the model takes.
    kind: Modality  # Of the payload.
    side: int = 0  # The program that takes it, of a model of pairs of two kinds.


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


def file_query(file: Path, takes: ModelInput) -> Query:
    """Return the sample in a file, such as an image.

    Raises:
        InputError: When the file cannot be read or decoded, or is not a regular file.
    """
    modality = takes.kind
    try:
        if not stat.S_ISREG(mode := file.stat().st_mode):  # Opening a pipe would wait for its writer.
            raise InputError(f"{file} is a {file_kind(mode)}, not a file; give {modality.query}")
        payload = modality.payload_of(file.read_bytes())
        return Query(file.name, payload, _row(payload, takes), modality)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); give {modality.query}") from error
    except Rejected as error:
        raise InputError(f"{file} cannot be decoded ({error.detail}); give {modality.query}") from error


def text_query(text: str, takes: ModelInput) -> Query:
    """Return a text as the sample that is searched for.

    Raises:
        InputError: When the model takes no texts, or this is none.
    """
    if _TEXT not in takes.modalities:
        raise InputError(f"--text: the model takes {takes}, not texts; give {takes.kind.query}")
    side = takes.modalities.index(_TEXT)
    of_texts = takes.of_side(side)
    # What the command line could not decode is in the text as halves of pairs, and is refused as not UTF-8.
    payload = text.strip().encode(errors="surrogateescape")
    try:
        return Query("a text", payload, _row(payload, of_texts), of_texts.kind, side)
    except Rejected as error:
        raise InputError(f"--text: {text!r} cannot be searched for ({error.detail}); give a text") from error


def _row(payload: bytes, takes: ModelInput) -> Rows:
    """Return a payload as a batch of one that a model takes."""
    return tuple(np.array(part)[None] for part in model_row(payload, takes.kind, takes.arrays))


def find_payloads(rows: Iterable[EmbeddedRow], data: SourceSpec, modality: str) -> dict[str, bytes]:
    """Return the payloads of rows, by id: of those that are still where they were embedded from."""
    origins = {bytes.fromhex(row.id): row.origin for row in rows}
    try:
        payloads = built_source(data, modality).find(data.location, origins)
    except (DataError, OSError):
        # The whole source has gone; the embeddings can be searched without it.
        return {}
    return {sample.hex(): payload for sample, payload in payloads.items()}
