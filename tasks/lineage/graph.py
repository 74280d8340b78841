"""The lineage of a version, both ways: what it was made from, and what was made from it."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass

from cl_core.artifact_dir import MANIFEST, manifest_of
from cl_core.errors import IntegrityError
from tasks.adapters.mlflow.version_record import VersionRecord, version_links, version_record
from tasks.runtime.run_log import FlowRun, logged_runs
from tasks.runtime.settings import Settings

_VERSION = re.compile(r"(?:models:/)?(?P<name>[^/@]+)(?:/(?P<number>\d+)|(?P<alias>@[\w.-]+))")
_OPTIONS = ("method", "loss", "views", "encoder", "epochs", "batch_size", "learning_rate", "seed")


@dataclass(frozen=True)
class LineageEntry:
    """Something that a version was made from, or that was made from it."""

    what: str = Field(description="Its kind, such as snapshot.")
    which: str = Field(description="Its name, number or digest.")
    detail: str = Field(default="", description="Where it is, or why; may be empty.")


class LineageReport(BaseModel):
    """The lineage of a version."""

    title: str = Field(description="Address, aliases and time of registration.")
    made_from: list[LineageEntry]
    champion: list[LineageEntry] = Field(description="Its place in the history of champions.")
    derived: list[LineageEntry] = Field(description="What was made from it, or from the same data or training.")


def parse_version(text: str) -> tuple[str, str] | None:
    """Return name and number, or name and @alias, of NAME/N, NAME@ALIAS or models:/...; None for other texts."""
    match = _VERSION.fullmatch(text)
    return (match["name"], match["number"] or match["alias"]) if match else None


def explain_version(name: str, version: str) -> LineageReport:
    """Return the lineage of a version from MLflow and this machine; it needs no Prefect server.

    Raises:
        InputError: When there is no such model, version or alias.
        StoreUnreachableError: When MLflow does not answer.
    """
    settings = Settings.from_environment()
    record = version_record(settings.tracking_uri, settings.work, name, version)
    aliases = f" ({', '.join(record.aliases)})" if record.aliases else ""
    return LineageReport(
        title=f"{record.model.uri}{aliases}, registered {record.registered:%Y-%m-%d %H:%M} UTC",
        made_from=list(_made_from(record, settings)),
        champion=list(_champion(record)),
        derived=list(_derived(record, settings)),
    )


def _made_from(record: VersionRecord, settings: Settings) -> Iterator[LineageEntry]:
    """Give what the version was made from, nearest last."""
    data, training = record.specs.get("data", {}), record.specs.get("training", {})
    tags = dict(record.tags)
    snapshot, digest = tags.pop("snapshot_digest", ""), record.model.training_digest
    tags.pop("training_digest", None)
    if data:
        yield LineageEntry("source", str(data["source"]), str(data.get("location") or "the source's own location"))
    yield LineageEntry(
        "snapshot", snapshot or "not recorded", _where(settings.datasets.glob(f"*/{snapshot}"), snapshot)
    )
    if training:
        yield LineageEntry(
            "trained with", ", ".join(f"{name} {training[name]}" for name in _OPTIONS if name in training)
        )
    yield LineageEntry("training", digest, _where([settings.trainings / digest], digest))
    if evaluation := tags.pop("evaluation_digest", ""):
        yield LineageEntry("evaluation", evaluation)
    # The other tags: the code's version, the recipe's name, the Prefect run.
    for tag, value in tags.items():
        yield LineageEntry(tag.replace("_", " "), value)
    yield LineageEntry("MLflow run", record.model.run_id, _run_page(record, settings))
    for run, messages in _runs_of(record, settings):
        yield LineageEntry("Prefect run", f"{run.name} ({run.id})", f"{run.flow}: {messages}")


def _champion(record: VersionRecord) -> Iterator[LineageEntry]:
    """Give the place of the version in the history of champions."""
    number = record.model.version
    yield LineageEntry("last decision", record.decision or "none: neither the gate nor a person has decided about it")
    if number not in record.champions:
        yield LineageEntry("champion", "until a person rolled it back" if number in record.rolled_back else "never")
        return
    for before in record.replaced or [0]:
        yield LineageEntry("it replaced", f"version {before}" if before else "none: it was the first champion")
    for after in record.replaced_by:
        yield LineageEntry("it was replaced by", f"version {after}")
    if not record.replaced_by:
        yield LineageEntry("champion", "not replaced")
    if record.rolled_back:
        yield LineageEntry("rolled back since", ", ".join(f"version {other}" for other in record.rolled_back))


def _derived(record: VersionRecord, settings: Settings) -> Iterator[LineageEntry]:
    """Give what was made from the same data and training, and from the version itself."""
    yield LineageEntry("of the same snapshot", ", ".join(record.same_snapshot) or "no other version")
    yield LineageEntry("of the same training", ", ".join(record.same_training) or "no other version")
    digest = record.model.training_digest
    for what, folder in {"embeddings": settings.embeddings, "scores": settings.evaluations}.items():
        for artifact in _artifacts_of(folder, digest):
            yield LineageEntry(what, artifact.name[:12], str(artifact))
    local = sorted((settings.reports / record.model.name).glob(f"version-{record.model.version}-*.html"))
    for report in local:
        yield LineageEntry("report", report.name, str(report))
    for name in sorted(set(record.reports) - {report.name for report in local}):
        yield LineageEntry("report", name, "among the artifacts of its MLflow run")


def _runs_of(record: VersionRecord, settings: Settings) -> Iterator[tuple[FlowRun, str]]:
    """Give the flow runs that made or used the version, oldest first, with what they logged about it."""
    identities = {record.model.uri, record.model.training_digest}
    for run in reversed(logged_runs(settings)):
        related = [
            attempt
            for attempt in run.attempts
            if identities
            & {attempt.result.get("uri"), attempt.result.get("digest"), attempt.result.get("training_digest")}
        ]
        messages = [
            message for attempt in related if attempt.step in ("pretrain", "register") for message in attempt.messages
        ]
        if related:
            yield run, "; ".join(messages) or f"steps: {', '.join(attempt.step for attempt in related)}"


def _artifacts_of(folder: Path, training_digest: str) -> Iterator[Path]:
    """Give the artifact directories whose manifest names a training."""
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            metadata = manifest_of(manifest.parent)
        except IntegrityError:
            continue
        if training_digest and metadata.get("training") == training_digest:
            yield manifest.parent


def _where(folders: Iterable[Path], digest: str) -> str:
    existing = [folder for folder in folders if digest and folder.is_dir()]
    return f"in {existing[0]}" if existing else "no longer on this machine"


def _run_page(record: VersionRecord, settings: Settings) -> str:
    links = version_links(settings.tracking_uri, record.model, Path("none"))
    return links.get("MLflow's database", links["MLflow run"])
