"""What MLflow records about one version: where it comes from, what followed it, and where to look at it."""

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import Field

from cl_core import artifact_dir
from cl_core.errors import InputError
from cl_core.refs import ModelRef, Ref
from tasks.adapters.mlflow import lookup
from tasks.adapters.mlflow.champion_history import read_history
from tasks.adapters.mlflow.connection import connected, redacted_uri
from tasks.adapters.mlflow.model_version import DECISION, SNAPSHOT_DIGEST, TRAINING_DIGEST, model_ref
from tasks.runtime.settings import is_server

if TYPE_CHECKING:
    from mlflow import MlflowClient

_OURS = "counterpoint."
_NOT_LINEAGE = {"counterpoint.scores", DECISION}


class VersionRecord(Ref):
    """A version, and what MLflow records about it."""

    model: ModelRef
    aliases: list[str]
    registered: datetime
    tags: dict[str, str] = Field(description="Counterpoint's tags of the version and of its run, without their prefix.")
    specs: dict[str, Any] = Field(description="What was asked for, by group.")
    decision: str = Field(description="The last one about it; empty before the first.")
    champions: list[int] = Field(description="Of the model, in their order, oldest first.")
    rolled_back: list[int] = Field(description="Former champions that a person has rolled back.")
    same_snapshot: list[str] = Field(description="Other versions that were trained on the same data, as NAME/N.")
    same_training: list[str] = Field(description="Other versions that the same training made, as NAME/N.")
    reports: list[str] = Field(description="Names of the reports beside the artifacts of its run.")

    @property
    def replaced(self) -> list[int]:
        """Return the champions that it replaced."""
        return [before for before, after in self._pairs if after == self.model.version]

    @property
    def replaced_by(self) -> list[int]:
        """Return the champions that replaced it."""
        return [after for before, after in self._pairs if before == self.model.version]

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        return list(zip(self.champions, self.champions[1:], strict=False))


def version_record(tracking_uri: str, work: Path, name: str, version: str) -> VersionRecord:
    """Return what MLflow records about a version, given by its number, or by @ and an alias.

    Raises:
        InputError: When there is no such model, version or alias.
    """
    with connected(tracking_uri) as client, artifact_dir.staging(work) as staged:
        model = lookup.require_model(client, name)
        number = _number(model.aliases, name, version)
        lookup.require_version(client, name, number)
        stored = client.get_model_version(name, str(number))
        history = read_history(model)
        run_id = stored.run_id or ""
        tags = {**(client.get_run(run_id).data.tags if run_id else {}), **stored.tags}
        files = [file.path for file in client.list_artifacts(run_id)] if run_id else []
        return VersionRecord(
            model=model_ref(stored),
            aliases=sorted(alias for alias, holder in model.aliases.items() if int(holder) == number),
            registered=datetime.fromtimestamp(stored.creation_timestamp / 1000, UTC),
            tags={
                tag.removeprefix(_OURS): value
                for tag, value in sorted(tags.items())
                if tag.startswith(_OURS) and tag not in _NOT_LINEAGE
            },
            specs=(
                json.loads(
                    Path(client.download_artifacts(run_id, "spec.json", str(staged))).read_text(encoding="utf-8")
                )
                if "spec.json" in files
                else {}
            ),
            decision=stored.tags.get(DECISION, ""),
            champions=history.champions,
            rolled_back=history.rolled_back,
            same_snapshot=_others(client, SNAPSHOT_DIGEST, tags.get(SNAPSHOT_DIGEST, ""), name, number),
            same_training=_others(client, TRAINING_DIGEST, tags.get(TRAINING_DIGEST, ""), name, number),
            reports=sorted(file for file in files if file.endswith(".html")),
        )


def _number(aliases: dict[str, str], name: str, version: str) -> int:
    if not version.startswith("@"):
        return int(version)
    if version[1:] not in aliases:
        raise InputError(
            f"model {name!r} has no alias {version[1:]!r}; there are: {lookup.comma_separated(sorted(aliases))}"
        )
    return int(aliases[version[1:]])


def _others(client: "MlflowClient", tag: str, digest: str, name: str, number: int) -> list[str]:
    """Return the versions of all models with this digest, except the given one."""
    if not digest:
        return []
    versions = client.search_model_versions(f"tags.`{tag}` = '{digest}'")
    others = {(version.name, int(version.version)) for version in versions} - {(name, number)}
    return [f"{other}/{version}" for other, version in sorted(others)]


def version_links(tracking_uri: str, model: ModelRef, report: Path) -> dict[str, str]:
    """Return where a person looks at a version and its report in MLflow, without user name and password.

    Pages of a server; or, for a database, a path and the command that shows it.
    """
    if not is_server(tracking_uri):
        return {
            "MLflow run": model.run_id,
            "Model version": model.uri,
            "Report": str(report),
            "MLflow's database": redacted_uri(tracking_uri),
            "To look at it": f"mlflow ui --backend-store-uri {shlex.quote(redacted_uri(tracking_uri))}",
        }
    with connected(tracking_uri) as client:
        experiment = client.get_run(model.run_id).info.experiment_id
    server = redacted_uri(tracking_uri).rstrip("/")
    run = f"{server}/#/experiments/{experiment}/runs/{model.run_id}"
    return {
        "MLflow run": run,
        "Model version": f"{server}/#/models/{quote(model.name, safe='')}/versions/{model.version}",
        "Report": f"{run}/artifacts/{quote(report.name)}",
        "Report on this machine": str(report),
    }
