"""Write the embeddings of many samples: in parts, from which a killed run resumes, joined in one file at the end."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from cl_core.artifact_dir import is_intact, manifest_of, publish, replacing, staging
from cl_core.columns import Rows
from cl_core.data.ingest.collect import nothing_usable
from cl_core.data.snapshot import QUARANTINE_TABLE, TEXT_SETTINGS
from cl_core.data.sources import Source, built_source
from cl_core.embedding.batches import prepared_batches
from cl_core.embedding.embeddings_file import (
    EmbeddingsMetadata,
    check_embeddings_file,
    dimensions,
    embeddings_table,
    read_metadata,
    write_embeddings_file,
)
from cl_core.errors import DataError, IntegrityError
from cl_core.hashing import digest_of
from cl_core.hashing.code_digest import code_digest
from cl_core.modalities._model_input import ModelInput
from cl_core.refs import Ref
from cl_core.specs import SourceSpec
from cl_core.tables import rows_of, table_of

_ROWS, _QUARANTINE = "rows.parquet", "quarantine.parquet"


class EmbedRows(Protocol):
    """Turns N rows, as the program for one side of pairs takes them, into (N, D) float32 unit rows."""

    def __call__(self, rows: Rows, side: int = 0) -> NDArray[np.float32]:
        """Embed the rows."""


@dataclass(frozen=True)
class FinishedModel:
    """A registered model, ready to use."""

    name: str  # Of the registered model.
    version: int  # Its number.
    training_digest: str  # Of the training that made it.
    takes: ModelInput
    embed: "EmbedRows"
    scale: float | None = None  # By which cosines of images and texts are multiplied to be logits.

    @property
    def unit(self) -> str:
        """Return what a sample is called, such as image."""
        return self.takes.kind.unit

    @property
    def uri(self) -> str:
        """Return models:/NAME/VERSION."""
        return f"models:/{self.name}/{self.version}"


class EmbedResult(Ref):
    """The result of embedding a source."""

    metadata: EmbeddingsMetadata
    dimensions: int
    new: bool = Field(description="False when the file was up to date.")
    reason: str = Field(description="One sentence: what was done, or why nothing was.")


def write_embeddings(
    model: FinishedModel,
    data: SourceSpec,
    output: Path,
    *,
    workers: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, inputs: None,
) -> EmbedResult:
    """Write the embedding of every sample to one Parquet file, unless the file is up to date.

    Inputs that cannot be decoded are listed in a file beside it, `NAME.quarantine.parquet`. Finished parts of 1,024
    inputs are kept in a folder beside it, `NAME.parquet.parts`, until the file is complete. Memory does not grow with
    the number of samples.

    A file of other embeddings is replaced. `on_progress` is called with the number of inputs done, and the total.

    Raises:
        SpecError: When the source or one of its options is unknown or out of range.
        DataError: When the location is missing or unreadable, or no input is usable.
        InputError: When `output` is another kind of file.
        StorageFullError: When the disk is full; finished parts are kept.
    """
    source = built_source(data, model.takes.modality)
    code, state = code_digest(__name__, type(source).__module__), source.fingerprint(data.location)
    digest = digest_of([model.uri, model.training_digest, model.takes, data, source, state, code])
    existing = _existing(output, digest)
    if isinstance(existing, EmbeddingsMetadata):
        reason = f"{output} is up to date ({model.unit}s, {model.uri} and code unchanged)"
        return EmbedResult(metadata=existing, dimensions=dimensions(output), new=False, reason=reason)
    folder = output.with_name(f"{output.name}.parts")
    parts = folder / digest
    for other in folder.glob("*"):  # Of another model, or of inputs that have changed since.
        if other.name != digest:
            shutil.rmtree(other)
    resumed = _write_parts(model, source, data, parts, workers, on_progress)
    try:
        metadata = _join(model, data, digest, parts, output)
    except DataError:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)
    reason = f"{model.uri} embedded {metadata.rows:,} {model.unit}s into {output}"
    if resumed:
        reason += f", {resumed:,} of them in an earlier run"
    if metadata.quarantined:
        reason += f"; {metadata.quarantined:,} inputs that could not be decoded are listed in {_quarantine_of(output)}"
    return EmbedResult(metadata=metadata, dimensions=dimensions(output), new=True, reason=reason + existing)


def _existing(output: Path, digest: str) -> EmbeddingsMetadata | str:
    """Return the metadata of an intact file of this digest; otherwise a clause about the file that is replaced.

    Raises:
        InputError: When another kind of file would be lost.
    """
    if not output.exists():
        return ""
    metadata = read_metadata(output)
    if metadata.digest != digest:
        return f"; replaced the embeddings of {metadata.rows:,} {metadata.takes.kind.unit}s by {metadata.model_uri}"
    try:
        check_embeddings_file(output)
    except IntegrityError as error:
        return f"; replaced a damaged file ({error})"
    if metadata.quarantined and not _quarantine_of(output).exists():
        return f"; {_quarantine_of(output)} was missing"
    return metadata


def _write_parts(
    model: FinishedModel,
    source: Source,
    data: SourceSpec,
    parts: Path,
    workers: int,
    on_progress: Callable[[int, int], None],
) -> int:
    """Write the parts that are missing; return how many inputs earlier runs embedded."""
    inputs = source.number_of_inputs(data.location)
    done = resumed = 0

    def is_done(part: int) -> bool:
        nonlocal done, resumed
        if not is_intact(_part(parts, part)):
            shutil.rmtree(_part(parts, part), ignore_errors=True)
            return False
        manifest = manifest_of(_part(parts, part))
        done, resumed = done + manifest["rows"] + manifest["quarantined"], resumed + manifest["rows"]
        on_progress(done, inputs)
        return True

    samples = source.samples(data.location)
    batches = prepared_batches(samples, model.takes, workers=workers, is_done=is_done)
    for part, members in groupby(batches, key=attrgetter("part")):
        rows, embeddings, rejected = [], [], []
        for batch in members:
            rows += batch.rows
            rejected += batch.rejected
            if batch.rows:
                embeddings.append(model.embed(batch.arrays))
            done += len(batch.rows) + len(batch.rejected)
            on_progress(done, inputs)
        with staging(parts) as staged:
            if rows:
                pq.write_table(embeddings_table(rows, np.concatenate(embeddings)), staged / _ROWS)
            if rejected:
                pq.write_table(table_of(rejected, QUARANTINE_TABLE), staged / _QUARANTINE)
            publish(staged, _part(parts, part), {"rows": len(rows), "quarantined": len(rejected)})
    return resumed


def _part(parts: Path, number: int) -> Path:
    return parts / f"part-{number:06d}"


def _join(model: FinishedModel, data: SourceSpec, digest: str, parts: Path, output: Path) -> EmbeddingsMetadata:
    """Join the parts in one file, a row group each, and the quarantine in one beside it."""
    folders = sorted(parts.glob("part-*"))
    manifests = [manifest_of(folder) for folder in folders]
    metadata = EmbeddingsMetadata(
        digest=digest,
        model_name=model.name,
        model_version=model.version,
        model_uri=model.uri,
        training_digest=model.training_digest,
        takes=model.takes,
        data=data,
        rows=sum(manifest["rows"] for manifest in manifests),
        quarantined=sum(manifest["quarantined"] for manifest in manifests),
    )
    rejected = [folder / _QUARANTINE for folder in folders if (folder / _QUARANTINE).exists()]
    if not metadata.rows:
        example = next(rows_of(pq.read_table(rejected[0]))) if rejected else None
        raise nothing_usable(data, metadata.quarantined, example, unit=model.unit)
    # The quarantine first: a complete file of embeddings always has its own beside it.
    _quarantine_of(output).unlink(missing_ok=True)
    if rejected:
        with replacing(_quarantine_of(output)) as file:
            pq.write_table(pa.concat_tables(map(pq.read_table, rejected)), file, **TEXT_SETTINGS)
    tables = (folder / _ROWS for folder in folders if (folder / _ROWS).exists())
    with replacing(output) as file:
        write_embeddings_file(file, map(pq.read_table, tables), metadata)
    return metadata


def _quarantine_of(output: Path) -> Path:
    return output.with_name(f"{output.stem}.quarantine.parquet")
