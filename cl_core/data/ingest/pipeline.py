"""Ingestion: a source becomes a snapshot, or the snapshot that stands is found to be the one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import PIL
from pydantic import Field

from cl_core.artifact_dir import MANIFEST, is_sound, manifest_of, publish, staging, write_text
from cl_core.code_digest import code_digest
from cl_core.data.ingest.collect import SortBuffers, collect_inputs
from cl_core.data.ingest.external_sort import RUN_BYTES, ExternalSort, merged
from cl_core.data.ingest.incremental_index import CONFLICTING, Counts, IncrementalIndex, notes_writer
from cl_core.data.ingest.snapshot_builder import build_snapshot
from cl_core.data.path_roots import confined
from cl_core.data.profile import SnapshotFacts
from cl_core.data.schema import LISTING
from cl_core.data.snapshot import open_snapshot
from cl_core.data.sources import Source
from cl_core.errors import DataError, IntegrityError
from cl_core.failpoints import failpoint
from cl_core.hashing import digest_of, file_sha256
from cl_core.refs import Ref, SnapshotRef
from cl_core.registry import SOURCES
from cl_core.specs import DataSpec

_SHOWN = 12  # Digits of a digest in a sentence.


class IngestResult(Ref):
    """What an ingestion came to."""

    snapshot: SnapshotRef
    new: bool = Field(description="False when a snapshot of this content stood already.")
    reason: str = Field(description="One sentence: why it is new, or why nothing was done.")


def ingest_source(
    spec: DataSpec,
    *,
    datasets: Path,
    workers: int = 1,
    force: bool = False,
    on_progress: Callable[[int], None] = lambda count: None,
    run_bytes: int = RUN_BYTES,
) -> IngestResult:
    """Bring a source's samples into a snapshot, `datasets/NAME/DIGEST/`.

    The digest follows from content, labels and splits alone: order, file names, copies and workers do not change it.
    A source that has not changed since a snapshot was made of it is not read again, nor is an input that has not, where
    the source can tell; what comes of it is the same as if all had been read. Memory does not grow with the
    number of samples; the disk takes the encoded images twice while it works.

    Args:
        spec: Which source, and how it is split.
        datasets: Folder of all datasets; made when missing.
        workers: Processes that decode.
        force: Read every input, even if it seems unchanged.
        on_progress: Called with the number of inputs checked so far.
        run_bytes: Images held in memory before they are sorted onto the disk. Bytes.

    Raises:
        SpecError: When the source or one of its options is unknown or out of range.
        InputError: When the location leads out of the folders of CL_DATA_ROOTS.
        DataError: When the location is missing, empty or unreadable, or no input is a usable image.
        StorageFullError: When the disk is full; nothing half-written remains.
        InfrastructureError: When a worker process is killed.
    """
    source: Source = SOURCES.build(spec.source, spec.source_options, field="data.source")
    if spec.location:
        confined(spec.location, field="data.location")
    root = datasets.absolute() / spec.name
    record = root / "ingests" / f"{_key(spec, source)}.json"
    if not force and (standing := _recorded(record, root)) is not None:
        return IngestResult(
            snapshot=standing,
            new=False,
            reason=f"the source has not changed since snapshot {standing.digest[:_SHOWN]} was made of it",
        )
    place = root / "ingests" / digest_of([spec.source, spec.location, source])
    known = IncrementalIndex(place, root, code=_code(source), trusted=not force)
    counts = Counts()
    with staging(root) as staged, staging(root) as noted, staging(root) as scratch:
        failpoint("ingest.begun")
        inputs = SortBuffers.under(scratch, run_bytes=run_bytes)
        listing = ExternalSort(LISTING, keys=1, folder=scratch / "listing", run_bytes=run_bytes)
        with notes_writer(noted) as notes:
            collect_inputs(
                known.inputs(source, spec.location, listing, counts),
                test_share=spec.test_share,
                into=inputs,
                notes=notes,
                counts=counts,
                workers=workers,
                on_progress=on_progress,
            )
        failpoint("ingest.inputs-sorted")
        recalled = known.with_payloads(inputs.recalled.rows())
        facts = build_snapshot(
            staged,
            name=spec.name,
            sound=merged(inputs.sound.rows(), recalled, keys=4),
            rejected=inputs.rejected,
            conflicting=noted / CONFLICTING,
        )
        if not sum(facts.rows.values()):
            raise DataError(_nothing_usable(spec, facts, inputs.rejected))
        final = root / facts.digest
        stood = is_sound(final)
        _publish(staged, final, facts)
        known.replace(noted, snapshot=facts.digest)
    record.parent.mkdir(exist_ok=True)
    told = {"snapshot": facts.digest, "manifest_sha256": file_sha256(final / MANIFEST)}
    write_text(record, json.dumps(told) + "\n")
    failpoint("ingest.recorded")
    return IngestResult(snapshot=open_snapshot(final), new=not stood, reason=_reason(facts, counts, stood))


def _key(spec: DataSpec, source: Source) -> str:
    """Digest of all that decides what ingestion would come to, the source's own state included."""
    return digest_of(
        [
            spec.source,
            spec.location,
            source,
            spec.test_share,
            source.fingerprint(spec.location),
            _code(source),
        ]
    )


def _code(source: Source) -> str:
    """Digest of what decides what is found in an input; Pillow decodes it."""
    return digest_of([code_digest(__name__, type(source).__module__), PIL.__version__])


def _recorded(record: Path, root: Path) -> SnapshotRef | None:
    """The snapshot that an earlier ingestion of the same thing came to, if it still stands as it was left."""
    try:
        known = json.loads(record.read_text())
        path = root / known["snapshot"]
        if file_sha256(path / MANIFEST) != known["manifest_sha256"]:
            return None  # Another source has led to the same content since; its origins and quarantine are not ours.
        return open_snapshot(path)
    except (OSError, ValueError, KeyError, TypeError, IntegrityError):
        return None


def _publish(staged: Path, final: Path, facts: SnapshotFacts) -> None:
    """Put the snapshot in place; one of the same rows gives way if its origins or its quarantine were others."""
    described = facts.model_dump(mode="json")
    if final.exists() and not _same(staged, final, described):
        shutil.rmtree(final)
    publish(staged, final, described)


def _same(staged: Path, final: Path, described: dict[str, object]) -> bool:
    try:
        manifest = manifest_of(final)
    except IntegrityError:
        return False
    files = manifest.pop("files")
    tables = [staged / "sources.parquet", staged / "quarantine.parquet"]
    return manifest == described and all(
        files.get(table.name, {}).get("sha256") == file_sha256(table) for table in tables
    )


def _nothing_usable(spec: DataSpec, facts: SnapshotFacts, rejected: ExternalSort) -> str:
    if not facts.inputs:
        return f"data.location: source {spec.source!r} delivered no images from {spec.location!r}; give another place"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in facts.quarantined.items())
    origin, _, detail = next(rejected.rows())
    return (
        f"data.location: none of the {facts.inputs:,} inputs from {spec.location!r} is a usable image ({reasons}); "
        f"{origin}, for one: {detail}"
    )


def _reason(facts: SnapshotFacts, counts: Counts, stood: bool) -> str:
    read = f"{facts.inputs:,} inputs were read and"
    if counts.gone is not None:
        read = f"{counts.read:,} inputs were read anew, {counts.known:,} were known, {counts.gone:,} have gone: they"
    rows = f"{sum(facts.rows.values()):,} distinct samples"
    if stood:
        return f"{read} hold the same {rows} as snapshot {facts.digest[:_SHOWN]}"
    return f"{read} hold {rows} that no snapshot of {facts.name!r} holds yet"
