"""Ingest a source into a snapshot, or find that an existing snapshot is up to date."""

import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from pydantic import Field

from cl_core.artifact_dir import MANIFEST, is_intact, manifest_of, publish, staging, write_text
from cl_core.data.ingest.collect import INPUTS, collect_inputs, nothing_usable
from cl_core.data.ingest.external_sort import RUN_BYTES, ExternalSort
from cl_core.data.ingest.incremental_index import LISTING, SET_ASIDE, Counts, IncrementalIndex, index_writer
from cl_core.data.ingest.snapshot_builder import build_snapshot
from cl_core.data.ingest.split_groups import SplitGroups
from cl_core.data.path_roots import confined
from cl_core.data.snapshot import QUARANTINE_TABLE, SnapshotProfile, open_snapshot
from cl_core.data.sources import Source, built_source
from cl_core.errors import IntegrityError, SpecError
from cl_core.failpoints import failpoint
from cl_core.hashing import digest_of, file_sha256
from cl_core.hashing.code_digest import code_digest
from cl_core.modalities import Modality
from cl_core.refs import Ref, SnapshotRef
from cl_core.specs import DataSpec, GroupRule

_SHOWN = 12  # Digits of a digest in a sentence.


class IngestResult(Ref):
    """The result of an ingestion."""

    snapshot: SnapshotRef
    new: bool = Field(description="False when a snapshot of this content existed.")
    reason: str = Field(description="One sentence: what is new, or why nothing was done.")


def ingest_source(
    spec: DataSpec,
    *,
    datasets: Path,
    workers: int = 1,
    force: bool = False,
    on_progress: Callable[[int], None] = lambda count: None,
    run_bytes: int = RUN_BYTES,
) -> IngestResult:
    """Ingest a source's samples into a snapshot, `datasets/NAME/DIGEST/`.

    The digest follows from content, labels and splits, and from what the source knows of columns, alone: order, file
    names, copies and workers do not change it.
    An unchanged source is not read again. Of a changed source that lists its inputs, only new and changed inputs are
    read; the snapshot is the same as if all had been. Memory does not grow with the number of samples; the disk holds
    the payloads twice during the work.

    Args:
        spec: Which source, and how it is split.
        datasets: Folder of all datasets; created when missing.
        workers: Threads that decode; 0 takes one for each CPU.
        force: Read every input, even if it seems unchanged.
        on_progress: Called with the number of inputs inspected so far.
        run_bytes: Images held in memory before they are sorted to disk. Bytes.

    Raises:
        SpecError: When the source or one of its options is unknown or out of range.
        InputError: When the location leads out of the folders of CL_DATA_ROOTS.
        DataError: When the location is missing, empty or unreadable, or no input is usable.
        StorageFullError: When the disk is full; no partial files remain.
    """
    source = built_source(spec, spec.modality)
    if spec.group and (column := GroupRule.parse(spec.group).column):
        source = source.grouped_by(column)
    if spec.location:
        confined(spec.location, field="data.location")
    root = datasets.absolute() / spec.name
    state = source.fingerprint(spec.location)
    modality: Modality = spec.built_modality
    if spec.near_duplicates_together and not modality.has_fingerprints:
        raise SpecError(
            f"data.near_duplicates_together: near-duplicates of {modality.unit}s are not found; leave it off, and keep "
            "samples together by data.group"
        )
    modules = (__name__, type(source).__module__, type(modality).__module__)
    code = digest_of([code_digest(*modules), *map(version, modality.libraries)])
    # An index of other inspections is another one. A fingerprint depends on all options.
    reading = [spec.modality, modality if spec.near_duplicates_together else modality.hidden]
    grouping = [spec.group, spec.near_duplicates_together] if spec.grouped else []
    key = digest_of([spec.source, spec.location, source, spec.test_share, state, code, *reading, *grouping])
    record = root / "ingests" / f"{key}.json"
    if not force and (existing := _recorded(record, root)) is not None:
        reason = f"snapshot {existing.digest[:_SHOWN]} is up to date (source unchanged)"
        return IngestResult(snapshot=existing, new=False, reason="; ".join([reason, *_passed_over(source)]))
    place = root / "ingests" / digest_of([spec.source, spec.location, source, *reading])
    earlier = IncrementalIndex(place, root, code=code, trusted=not force)
    counts = Counts()
    groups = SplitGroups(spec) if spec.grouped or modality.has_identities else None
    with staging(root) as staged, staging(root) as staged_index, staging(root) as scratch:
        failpoint("ingest.begun")
        valid = ExternalSort(INPUTS, keys=4, folder=scratch / "valid", run_bytes=run_bytes)
        rejected = ExternalSort(QUARANTINE_TABLE, keys=3, folder=scratch / "rejected", run_bytes=run_bytes)
        listing = ExternalSort(LISTING, keys=1, folder=scratch / "listing", run_bytes=run_bytes)
        with index_writer(staged_index) as index:
            collect_inputs(
                earlier.inputs(source, spec.location, listing, counts),
                test_share=spec.test_share,
                modality=modality,
                fingerprint=spec.near_duplicates_together,
                groups=groups,
                valid=valid,
                rejected=rejected,
                index=index,
                counts=counts,
                workers=workers,
                on_progress=on_progress,
            )
        failpoint("ingest.inputs-sorted")
        profile = build_snapshot(
            staged,
            name=spec.name,
            valid=earlier.with_payloads(valid.rows()),
            rejected=rejected,
            set_aside=staged_index / SET_ASIDE,
            groups=groups.draw() if groups else None,
            modality=modality,
        )
        content = dict(source.content())
        # What the source knows decides what is learned of the same rows, such as which values are of one column.
        digest = digest_of([profile.digest, content]) if content else profile.digest
        known = {"passed_over": source.passed_over(), "content": {**profile.content, **content}, "digest": digest}
        profile = profile.model_copy(update=known)
        if not sum(profile.rows.values()):
            reasons = f" ({', '.join(f'{count:,} {reason}' for reason, count in profile.quarantined.items())})"
            raise nothing_usable(spec, profile.inputs, next(rejected.rows(), None), reasons, unit=modality.unit)
        final = root / profile.digest
        existed = is_intact(final)
        _publish(staged, final, profile)
        earlier.replace(staged_index, snapshot=profile.digest)
    record.parent.mkdir(exist_ok=True)
    content = {"snapshot": profile.digest, "manifest_sha256": file_sha256(final / MANIFEST)}
    write_text(record, json.dumps(content) + "\n")
    failpoint("ingest.recorded")
    notes = [note for note in [source.note(spec.location)] if note] + _passed_over(source)
    reason = "; ".join([_reason(profile, counts, existed), *notes])
    return IngestResult(snapshot=open_snapshot(final), new=not existed, reason=reason)


def _passed_over(source: Source) -> list[str]:
    counts = ", ".join(f"{count:,} {kind}" for kind, count in source.passed_over().items())
    return [f"passed over: {counts}"] if counts else []


def _recorded(record: Path, root: Path) -> SnapshotRef | None:
    """Return the snapshot of an earlier ingestion of the same source, if it is intact."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        path = root / content["snapshot"]
        if file_sha256(path / MANIFEST) != content["manifest_sha256"]:
            return None  # Another source has led to the same content since; its origins and quarantine are not ours.
        return open_snapshot(path)
    except (OSError, ValueError, KeyError, TypeError, IntegrityError):
        return None


def _publish(staged: Path, final: Path, profile: SnapshotProfile) -> None:
    """Publish the snapshot; it replaces one of the same rows that has other origins or another quarantine."""
    metadata = profile.model_dump(mode="json")
    if final.exists() and not _same(staged, final, metadata):
        shutil.rmtree(final)
    publish(staged, final, metadata)


def _same(staged: Path, final: Path, metadata: dict[str, object]) -> bool:
    try:
        manifest = manifest_of(final)
    except IntegrityError:
        return False
    files = manifest.pop("files")
    tables = ("sources.parquet", "quarantine.parquet")
    return manifest == metadata and all(
        files.get(name, {}).get("sha256") == file_sha256(staged / name) for name in tables
    )


def _reason(profile: SnapshotProfile, counts: Counts, existed: bool) -> str:
    inputs = f"{profile.inputs:,} inputs"
    if counts.removed is not None:
        inputs += f" ({counts.read:,} read, {counts.unchanged:,} unchanged, {counts.removed:,} removed)"
    contents = f"{inputs}, {sum(profile.rows.values()):,} unique"
    if profile.groups:
        contents += f", {profile.groups.phrase}"
    digest = profile.digest[:_SHOWN]
    return f"snapshot {digest} has the same content: {contents}" if existed else f"new snapshot {digest}: {contents}"
