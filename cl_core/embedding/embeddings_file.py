"""A file of embeddings: its columns, and what it says of the model and the images they are of.

It is plain Parquet: pandas, pyarrow, DuckDB and Embedding Atlas read it as it is.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from cl_core.errors import InputError, IntegrityError
from cl_core.hashing import file_sha256
from cl_core.refs import Ref
from cl_core.specs import SourceSpec

_KEY = b"counterpoint"
_CHECKSUM = b"counterpoint.sha256"  # Of all bytes before the footer, in which it stands, after their number.
_SETTINGS: dict[str, Any] = {"compression": "ZSTD", "use_dictionary": ["label", "split"]}


class EmbeddingsMetadata(Ref):
    """What the file's metadata says, as JSON under the key `counterpoint`."""

    digest: str = Field(description="Of the model, the images and the code: names what the file holds.")
    model_name: str
    model_version: int
    model_uri: str = Field(description="models:/NAME/VERSION, wherever MLflow is.")
    training_digest: str = Field(description="Of the training that made the model.")
    image_shape: tuple[int, int, int] = Field(description="(H, W, C) that the images were brought to.")
    data: SourceSpec = Field(description="Where the images came from.")
    rows: int
    quarantined: int = Field(description="Inputs that could not be embedded.")


class EmbeddedRow(NamedTuple):
    """What is known of one image beside its embedding.

    Args:
        id: sha256 of the encoded image, 64 hexadecimal digits.
        origin: Where it came from: a path, or a row of a file.
        label: Name of its class; None without one.
        split: `train` or `test`; None where the source does not say.
    """

    id: str
    origin: str
    label: str | None
    split: str | None


def embeddings_schema(dimensions: int) -> pa.Schema:
    """The columns: those of `Row`, and the embedding, of unit length."""
    texts = [pa.field(name, pa.string(), nullable=name in ("label", "split")) for name in EmbeddedRow._fields]
    return pa.schema([*texts, pa.field("embedding", pa.list_(pa.float32(), dimensions), nullable=False)])


def embeddings_table(rows: Sequence[EmbeddedRow], embeddings: NDArray[np.float32]) -> pa.Table:
    """Rows and their (N, D) embeddings as a table."""
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), embeddings.shape[1])
    return pa.Table.from_arrays([*columns, vectors], schema=embeddings_schema(embeddings.shape[1]))


def write_embeddings_file(file: Path, tables: Iterable[pa.Table], facts: EmbeddingsMetadata) -> None:
    """Write tables of `schema` to a file, a row group each, with the facts and a checksum."""
    remaining = iter(tables)
    first = next(remaining)
    columns = first.schema.with_metadata({_KEY: facts.model_dump_json()})
    with pa.OSFile(str(file), "wb") as sink, pq.ParquetWriter(sink, columns, **_SETTINGS) as writer:
        for each in chain([first], remaining):
            writer.write_table(each.cast(columns), row_group_size=max(1, each.num_rows))
        sink.flush()
        writer.add_key_value_metadata({_CHECKSUM: f"{sink.tell()} {file_sha256(file)}"})


def read_metadata(path: Path) -> EmbeddingsMetadata:
    """What a file of embeddings says of itself.

    Raises:
        InputError: When there is no such file, or it holds something else.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        return EmbeddingsMetadata.model_validate_json(metadata[_KEY])
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}; `cl embed` writes one") from error
    except (KeyError, OSError, ValidationError, pa.ArrowException) as error:
        raise InputError(f"{path} holds no embeddings written by `cl embed`; give a file that does") from error


def check_embeddings_file(path: Path) -> None:
    """Nothing, when every byte before the footer is as it was written.

    Raises:
        IntegrityError: When one is not.
    """
    size, _, recorded = pq.read_metadata(path).metadata[_CHECKSUM].decode().partition(" ")
    found = file_sha256(path, int(size))
    if found != recorded:
        raise IntegrityError(
            f"{path} has changed since it was written: sha256 {found[:12]}…, expected {recorded[:12]}…; delete it and "
            "run again, and check the disk"
        )


def embedding_groups(path: Path) -> Iterator[NDArray[np.float32]]:
    """The (n, D) embeddings of a file, a row group at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            vectors = file.read_row_group(group, columns=["embedding"])["embedding"].combine_chunks()
            yield np.array(vectors.flatten().to_numpy()).reshape(len(vectors), -1)


def rows_at(path: Path, places: Sequence[tuple[int, int]]) -> list[EmbeddedRow]:
    """What a file says of the rows at these places: row group, and position in it."""
    with pq.ParquetFile(path) as file:
        read = {
            group: file.read_row_group(group, columns=list(EmbeddedRow._fields))
            for group in {group for group, _ in places}
        }
    return [
        EmbeddedRow(*(read[group][name][position].as_py() for name in EmbeddedRow._fields))
        for group, position in places
    ]


def dimensions(path: Path) -> int:
    """How many numbers an embedding of the file has."""
    return int(pq.read_schema(path).field("embedding").type.list_size)
