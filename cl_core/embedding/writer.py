"""Writing the embeddings of many images: in parts that a killed run goes on from, joined in one file at the end."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from cl_core.artifact_dir import is_sound, manifest_of, publish, replacing, staging
from cl_core.code_digest import code_digest
from cl_core.data.snapshot import QUARANTINE_TABLE, TEXT_SETTINGS
from cl_core.data.sources import Source
from cl_core.embedding.batches import prepared_batches
from cl_core.embedding.embeddings_file import (
    EmbeddingFacts,
    check_embeddings_file,
    dimensions,
    embeddings_table,
    read_facts,
    write_embeddings_file,
)
from cl_core.errors import DataError, IntegrityError
from cl_core.hashing import digest_of
from cl_core.refs import Ref
from cl_core.registry import SOURCES
from cl_core.specs import SourceSpec

_ROWS, _QUARANTINE = "rows.parquet", "quarantine.parquet"
_SHOWN = 12  # Digits of a digest in a sentence.


@dataclass(frozen=True)
class FinishedModel:
    """A registered model, as it is used.

    Args:
        name: Of the registered model.
        version: Its number.
        training_digest: Of the training that made it.
        shape: (H, W, C) of the images that it takes.
        embed: (N, H, W, C) uint8 images to (N, D) float32 unit rows.
    """

    name: str
    version: int
    training_digest: str
    shape: tuple[int, int, int]
    embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]]

    @property
    def uri(self) -> str:
        """models:/NAME/VERSION"""
        return f"models:/{self.name}/{self.version}"


class EmbedResult(Ref):
    """What embedding came to."""

    facts: EmbeddingFacts
    dimensions: int
    new: bool = Field(description="False when the file stood already.")
    reason: str = Field(description="One sentence: what was done, or why nothing was.")


def write_embeddings(
    model: FinishedModel,
    data: SourceSpec,
    output: Path,
    *,
    workers: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, inputs: None,
) -> EmbedResult:
    """Write the embedding of every image to one Parquet file, or find that the file stands.

    Inputs that are no images go to a file beside it, `NAME.quarantine.parquet`. What is finished is kept, part by part
    of 1,024 inputs, in a folder beside it, `NAME.parquet.parts`, until the whole is. Memory does not grow with the
    number of images.

    Args:
        model: What embeds them.
        data: Which images.
        output: The file; one of other embeddings gives way.
        workers: Processes that decode.
        on_progress: Called with the number of inputs done, and of all.

    Raises:
        SpecError: When the source or one of its options is unknown or out of range.
        DataError: When the location is missing or unreadable, or no input is a usable image.
        InputError: When `output` is a file that holds something else.
        StorageFullError: When the disk is full; what is finished is kept.
        InfrastructureError: When a worker process is killed.
    """
    source: Source = SOURCES.build(data.source, data.source_options, field="data.source")
    digest = _digest(model, source, data)
    found = _found(output, digest)
    if isinstance(found, EmbeddingFacts):
        reason = f"{output} stands: {model.uri} embedded these images before, and code has not changed"
        return EmbedResult(facts=found, dimensions=dimensions(output), new=False, reason=reason)
    folder = output.with_name(f"{output.name}.parts")
    parts = folder / digest
    for other in folder.glob("*"):  # Of another model, or of images that have changed since.
        if other.name != digest:
            shutil.rmtree(other)
    resumed = _write_parts(model, source, data, parts, workers, on_progress)
    try:
        facts = _join(model, data, digest, parts, output)
    except DataError:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)
    went_on = f", {resumed:,} of them by an earlier run" if resumed else ""
    left_out = f"; {facts.quarantined:,} inputs are in {_quarantine_of(output)}" if facts.quarantined else ""
    reason = f"{facts.rows:,} images embedded by {model.uri}{went_on}, in {output}{left_out}{found}"
    return EmbedResult(facts=facts, dimensions=dimensions(output), new=True, reason=reason)


def _digest(model: FinishedModel, source: Source, data: SourceSpec) -> str:
    """Of all that decides what the file holds, the source's own state included."""
    code = code_digest(__name__, type(source).__module__)
    state = source.fingerprint(data.location)
    return digest_of([model.uri, model.training_digest, model.shape, data, source, state, code])


def _found(output: Path, digest: str) -> EmbeddingFacts | str:
    """What stands at `output` under this digest; else a clause about what is replaced.

    Raises:
        InputError: When a file of something else would be lost.
    """
    if not output.exists():
        return ""
    facts = read_facts(output)
    if facts.digest != digest:
        return f"; it replaces those of {facts.rows:,} images by {facts.model_uri}"
    try:
        check_embeddings_file(output)
    except IntegrityError as error:
        return f"; the file that stood was damaged ({error})"
    if facts.quarantined and not _quarantine_of(output).exists():
        return f"; {_quarantine_of(output)} was missing"
    return facts


def _write_parts(
    model: FinishedModel,
    source: Source,
    data: SourceSpec,
    parts: Path,
    workers: int,
    on_progress: Callable[[int, int], None],
) -> int:
    """Finish the parts that do not stand; returns how many images stood."""
    inputs = source.number_of_inputs(data.location)
    done = stood = 0

    def stands(part: int) -> bool:
        nonlocal done, stood
        if not is_sound(_part(parts, part)):
            shutil.rmtree(_part(parts, part), ignore_errors=True)
            return False
        facts = manifest_of(_part(parts, part))
        done, stood = done + facts["rows"] + facts["quarantined"], stood + facts["rows"]
        on_progress(done, inputs)
        return True

    batches = prepared_batches(source.samples(data.location), model.shape, workers=workers, stands=stands)
    for part, some in groupby(batches, key=attrgetter("part")):
        rows, embeddings, rejected = [], [], []
        for batch in some:
            rows += batch.rows
            rejected += batch.rejected
            if batch.rows:
                embeddings.append(model.embed(batch.images))
            done += len(batch.rows) + len(batch.rejected)
            on_progress(done, inputs)
        with staging(parts) as staged:
            if rows:
                pq.write_table(embeddings_table(rows, np.concatenate(embeddings)), staged / _ROWS)
            if rejected:
                columns = [pa.array(column, pa.string()) for column in zip(*rejected, strict=True)]
                pq.write_table(pa.Table.from_arrays(columns, schema=QUARANTINE_TABLE), staged / _QUARANTINE)
            publish(staged, _part(parts, part), {"rows": len(rows), "quarantined": len(rejected)})
    return stood


def _part(parts: Path, number: int) -> Path:
    return parts / f"part-{number:06d}"


def _join(model: FinishedModel, data: SourceSpec, digest: str, parts: Path, output: Path) -> EmbeddingFacts:
    """Join the parts in one file, a row group each, and the quarantine in one beside it."""
    folders = sorted(parts.glob("part-*"))
    manifests = [manifest_of(folder) for folder in folders]
    facts = EmbeddingFacts(
        digest=digest,
        model_name=model.name,
        model_version=model.version,
        model_uri=model.uri,
        training_digest=model.training_digest,
        image_shape=model.shape,
        data=data,
        rows=sum(manifest["rows"] for manifest in manifests),
        quarantined=sum(manifest["quarantined"] for manifest in manifests),
    )
    rejected = [folder / _QUARANTINE for folder in folders if (folder / _QUARANTINE).exists()]
    if not facts.rows:
        raise DataError(_nothing_usable(data, facts, rejected))
    # The quarantine first: a file of embeddings that stands has its own beside it.
    _quarantine_of(output).unlink(missing_ok=True)
    if rejected:
        with replacing(_quarantine_of(output)) as file:
            pq.write_table(pa.concat_tables(map(pq.read_table, rejected)), file, **TEXT_SETTINGS)
    kept = (folder / _ROWS for folder in folders if (folder / _ROWS).exists())
    with replacing(output) as file:
        write_embeddings_file(file, map(pq.read_table, kept), facts)
    return facts


def _quarantine_of(output: Path) -> Path:
    return output.with_name(f"{output.stem}.quarantine.parquet")


def _nothing_usable(data: SourceSpec, facts: EmbeddingFacts, rejected: list[Path]) -> str:
    if not rejected:
        return f"data.location: source {data.source!r} delivered no images from {data.location!r}; give another place"
    first = pq.read_table(rejected[0]).slice(0, 1).to_pylist()[0]
    return (
        f"data.location: none of the {facts.quarantined:,} inputs from {data.location!r} is a usable image; "
        f"{first['origin']}, for one: {first['detail']}"
    )
