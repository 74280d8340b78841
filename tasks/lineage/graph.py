"""Lineage, both ways: what a version was made from and what was made from it, as this machine and MLflow know it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cl_core.artifact_dir import MANIFEST, manifest_of
from cl_core.errors import IntegrityError
from tasks.adapters.mlflow.connection import shown
from tasks.adapters.mlflow.ui_links import pages
from tasks.adapters.mlflow.version_record import VersionRecord, version_record
from tasks.runtime.run_log import FlowRun, RunRecord, run_logs
from tasks.runtime.settings import Settings

_VERSION = re.compile(r"(?:models:/)?(?P<name>[^/@]+)(?:/(?P<number>\d+)|(?P<alias>@[\w.-]+))")
_RECIPE = ("method", "loss", "views", "encoder", "epochs", "batch_size", "learning_rate", "seed")


class LineageLine(NamedTuple):
    """What stands where: a kind of thing, which one it is, and where or why."""

    what: str
    which: str
    detail: str = ""


class VersionLineage(NamedTuple):
    """A version in its lineage."""

    title: str
    up: list[LineageLine]
    champion: list[LineageLine]
    down: list[LineageLine]


def version_named(text: str) -> tuple[str, str] | None:
    """Name and number, or name and @alias, of what is written as NAME/N, NAME@ALIAS or models:/...; None otherwise."""
    found = _VERSION.fullmatch(text)
    return (found["name"], found["number"] or found["alias"]) if found else None


def explain_version(name: str, version: str) -> VersionLineage:
    """A version in its lineage. MLflow is asked; a Prefect server is not needed.

    Raises:
        InputError: When there is no such model, version or alias.
        StoreUnreachableError: When MLflow does not answer.
    """
    settings = Settings.from_environment()
    record = version_record(settings.tracking_uri, settings.work, name, version)
    aliases = f" ({', '.join(record.aliases)})" if record.aliases else ""
    return VersionLineage(
        title=f"{record.model.uri}{aliases}, registered {record.registered:%Y-%m-%d %H:%M} UTC",
        up=list(_up(record, settings)),
        champion=list(_champion(record)),
        down=list(_down(record, settings)),
    )


def run_records(settings: Settings) -> list[RunRecord]:
    """The accounts of all flow runs of this machine, newest first."""
    read = [log.read() for log in run_logs(settings)]
    return sorted(read, key=lambda account: -account.run.began)


def _up(record: VersionRecord, settings: Settings) -> Iterator[LineageLine]:
    """What it was made from, nearest last."""
    data, training = record.specs.get("data", {}), record.specs.get("training", {})
    tags = dict(record.tags)
    snapshot, digest = tags.pop("snapshot_digest", ""), record.model.training_digest
    tags.pop("training_digest", None)
    if data:
        yield LineageLine("source", str(data["source"]), str(data.get("location") or "the source's own place"))
    yield LineageLine("snapshot", snapshot or "not recorded", _where(settings.datasets.glob(f"*/{snapshot}"), snapshot))
    if training:
        yield LineageLine("trained with", ", ".join(f"{name} {training[name]}" for name in _RECIPE if name in training))
    yield LineageLine("training", digest, _where([settings.trainings / digest], digest))
    if evaluation := tags.pop("evaluation_digest", ""):
        yield LineageLine("evaluation", evaluation)
    # Whatever else was recorded: the code's version, the recipe's name, the Prefect run.
    for tag, value in tags.items():
        yield LineageLine(tag.replace("_", " "), value)
    yield LineageLine("MLflow run", record.model.run_id, _run_page(record, settings))
    for run, did in _runs_of(record, settings):
        yield LineageLine("Prefect run", f"{run.name} ({run.id})", f"{run.flow}: {did}")


def _champion(record: VersionRecord) -> Iterator[LineageLine]:
    """Its place in the succession of champions."""
    number = record.model.version
    yield LineageLine(
        "last decision", record.decision or "none: the gate has not run on it, and nobody has promoted it"
    )
    if number not in record.champions:
        yield LineageLine(
            "champion", "it was, until a person rolled it back" if number in record.withdrawn else "it never was"
        )
        return
    for before in record.replaced or [0]:
        yield LineageLine("it replaced", f"version {before}" if before else "nothing: it was the first champion")
    for after in record.replaced_by:
        yield LineageLine("it was replaced by", f"version {after}")
    if not record.replaced_by:
        yield LineageLine("champion", "nothing has replaced it")
    if record.withdrawn:
        yield LineageLine("rolled back since", ", ".join(f"version {other}" for other in record.withdrawn))


def _down(record: VersionRecord, settings: Settings) -> Iterator[LineageLine]:
    """What was made from the same data and training, and from the version itself."""
    yield LineageLine("of the same snapshot", ", ".join(record.same_snapshot) or "no other version")
    yield LineageLine("of the same training", ", ".join(record.same_training) or "no other version")
    digest = record.model.training_digest
    for what, folder in {"embeddings": settings.embeddings, "scores": settings.evaluations}.items():
        for made in _made_from(folder, digest):
            yield LineageLine(what, made.name[:12], str(made))
    local = sorted((settings.reports / record.model.name).glob(f"version-{record.model.version}-*.html"))
    for report in local:
        yield LineageLine("report", report.name, str(report))
    for name in sorted(set(record.reports) - {report.name for report in local}):
        yield LineageLine("report", name, "beside the artifacts of its MLflow run")


def _runs_of(record: VersionRecord, settings: Settings) -> Iterator[tuple[FlowRun, str]]:
    """The flow runs that made the version or came upon it, oldest first, and what they did."""
    identities = {record.model.uri, record.model.training_digest}
    for account in reversed(run_records(settings)):
        touched = [
            attempt
            for attempt in account.attempts
            if identities
            & {attempt.result.get("uri"), attempt.result.get("digest"), attempt.result.get("training_digest")}
        ]
        said = [
            sentence for attempt in touched if attempt.step in ("pretrain", "register") for sentence in attempt.messages
        ]
        if touched:
            yield account.run, "; ".join(said) or f"used it in {', '.join(attempt.step for attempt in touched)}"


def _made_from(folder: Path, training_digest: str) -> Iterator[Path]:
    """Sealed directories whose manifest says that they were made from a training."""
    for manifest in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            facts = manifest_of(manifest.parent)
        except IntegrityError:
            continue
        if training_digest and facts.get("training") == training_digest:
            yield manifest.parent


def _where(places: "Iterator[Path] | list[Path]", digest: str) -> str:
    standing = [place for place in places if digest and place.is_dir()]
    return f"stands at {standing[0]}" if standing else "no longer kept on this machine"


def _run_page(record: VersionRecord, settings: Settings) -> str:
    if not settings.tracking_uri.startswith(("http://", "https://")):
        return shown(settings.tracking_uri)
    return pages(settings.tracking_uri, record.model, Path("none"))["MLflow run"]
