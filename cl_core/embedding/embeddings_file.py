"""A file of embeddings: its columns, and its metadata about the model and the samples.

It is plain Parquet: pandas, pyarrow, DuckDB and Embedding Atlas read it as it is.
"""

import stat
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from cl_core.data.sources._listing import file_kind
from cl_core.errors import InputError, IntegrityError
from cl_core.hashing import file_sha256
from cl_core.modalities._model_input import ModelInput
from cl_core.refs import Ref
from cl_core.specs import SourceSpec
from cl_core.tables import rows_of, schema_of, table_of

_KEY = b"counterpoint"
_CHECKSUM = b"counterpoint.sha256"  # Number and sha256 of all bytes before the footer, which holds it.
_SETTINGS: dict[str, Any] = {"compression": "ZSTD", "use_dictionary": ["label", "split"]}


class EmbeddingsMetadata(Ref):
    """The file's metadata, as JSON under the key `counterpoint`."""

    digest: str = Field(description="Of the model, the samples and the code.")
    model_name: str
    model_version: int
    model_uri: str = Field(description="models:/NAME/VERSION")
    training_digest: str = Field(description="Of the training that made the model.")
    takes: ModelInput = Field(description="What the samples were made into, which the model takes.")
    data: SourceSpec = Field(description="Where the samples came from.")
    rows: int
    quarantined: int = Field(description="Inputs that could not be embedded.")

    @model_validator(mode="before")
    @classmethod
    def _of_images(cls, values: Any) -> Any:
        """Read what version 0.1.0 wrote, which knew images only."""
        if not isinstance(values, dict) or "image_shape" not in values:
            return values
        old = dict(values)
        shape, value_range = old.pop("image_shape"), old.pop("value_range", None)
        return {**old, "takes": {"shape": shape, "hidden": {"value_range": value_range} if value_range else {}}}


class EmbeddedRow(NamedTuple):
    """One row of the file, without its embedding."""

    id: str  # sha256 of the payload, such as the bytes of an image file, 64 hexadecimal digits.
    origin: str  # Where it came from: a path, or a row of a file.
    label: str | None  # Name of its class; None without one.
    split: str | None  # `train` or `test`; None where the source does not say.


def embeddings_table(rows: Sequence[EmbeddedRow], embeddings: NDArray[np.float32]) -> pa.Table:
    """Return the columns of `EmbeddedRow`, and the (N, D) embeddings, of unit length."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), embeddings.shape[1])
    return table_of(rows, schema_of(EmbeddedRow)).append_column(
        pa.field("embedding", vectors.type, nullable=False), vectors
    )


def write_embeddings_file(file: Path, tables: Iterable[pa.Table], metadata: EmbeddingsMetadata) -> None:
    """Write tables of `embeddings_table` to a file, a row group each, with metadata and a checksum."""
    remaining = iter(tables)
    first = next(remaining)
    columns = first.schema.with_metadata({_KEY: metadata.model_dump_json()})
    with pa.OSFile(str(file), "wb") as sink, pq.ParquetWriter(sink, columns, **_SETTINGS) as writer:
        for table in chain([first], remaining):
            writer.write_table(table.cast(columns), row_group_size=max(1, table.num_rows))
        sink.flush()
        writer.add_key_value_metadata({_CHECKSUM: f"{sink.tell()} {file_sha256(file)}"})


def read_metadata(path: Path) -> EmbeddingsMetadata:
    """Return the metadata of a file of embeddings.

    Raises:
        InputError: When the file does not exist or was not written by `cl embed`.
    """
    try:
        if not stat.S_ISREG(mode := path.stat().st_mode):  # Opening a pipe would wait for its writer.
            raise InputError(f"{path} is a {file_kind(mode)}, not a file; give one that `cl embed` wrote")
        metadata = pq.read_schema(path).metadata or {}
        return EmbeddingsMetadata.model_validate_json(metadata[_KEY])
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; write it with `cl embed`") from error
    except (KeyError, OSError, ValidationError, pa.ArrowException) as error:
        raise InputError(f"{path} was not written by `cl embed`; give a file that was") from error


def check_embeddings_file(path: Path) -> None:
    """Verify the checksum of all bytes before the footer.

    Raises:
        IntegrityError: When one has changed.
    """
    size, _, recorded = pq.read_metadata(path).metadata[_CHECKSUM].decode().partition(" ")
    actual = file_sha256(path, int(size))
    if actual != recorded:
        raise IntegrityError(
            f"{path} has changed since it was written: sha256 {actual[:12]}…, expected {recorded[:12]}…; delete it and "
            "run again, and check the disk"
        )


def embedding_groups(path: Path) -> Iterator[NDArray[np.float32]]:
    """Yield the (n, D) embeddings of a file, a row group at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            vectors = file.read_row_group(group, columns=["embedding"])["embedding"].combine_chunks()
            yield np.array(vectors.flatten().to_numpy()).reshape(len(vectors), -1)


def rows_at(path: Path, places: Sequence[tuple[int, int]]) -> list[EmbeddedRow]:
    """Return the rows at these places: row group, and position in it."""
    with pq.ParquetFile(path) as file:
        groups = {
            group: list(rows_of(file.read_row_group(group, columns=EmbeddedRow._fields)))
            for group in {group for group, _ in places}
        }
    return [EmbeddedRow(*groups[group][position]) for group, position in places]


def dimensions(path: Path) -> int:
    """Return how many numbers an embedding of the file has."""
    return int(pq.read_schema(path).field("embedding").type.list_size)
