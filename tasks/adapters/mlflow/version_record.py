"""What MLflow knows of where a version comes from, and of what became of it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from cl_core import artifact_dir
from cl_core.errors import InputError
from cl_core.refs import ModelRef, Ref
from tasks.adapters.mlflow import champion_history as champions
from tasks.adapters.mlflow import lookup
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_version import DECISION, SNAPSHOT_DIGEST, TRAINING_DIGEST, model_ref

if TYPE_CHECKING:
    from mlflow import MlflowClient

_OURS = "counterpoint."
_NOT_LINEAGE = {"counterpoint.scores", DECISION}


class VersionRecord(Ref):
    """A version, and what is recorded around it."""

    model: ModelRef
    aliases: list[str]
    registered: datetime
    tags: dict[str, str] = Field(description="Counterpoint's, of the version and of its run, without their prefix.")
    specs: dict[str, Any] = Field(description="What was asked for, by group.")
    decision: str = Field(description="The last one about it; empty before the first.")
    champions: list[int] = Field(description="Of the model, in their order, oldest first.")
    withdrawn: list[int] = Field(description="Former champions that a person has rolled back.")
    same_snapshot: list[str] = Field(description="Other versions that were trained on the same data, as NAME/N.")
    same_training: list[str] = Field(description="Other versions that the same training made, as NAME/N.")
    reports: list[str] = Field(description="Names of the reports beside the artifacts of its run.")

    @property
    def replaced(self) -> list[int]:
        """The champions that it followed."""
        return [before for before, after in self._successions if after == self.model.version]

    @property
    def replaced_by(self) -> list[int]:
        """The champions that followed it."""
        return [after for before, after in self._successions if before == self.model.version]

    @property
    def _successions(self) -> list[tuple[int, int]]:
        return list(zip(self.champions, self.champions[1:], strict=False))


def version_record(tracking_uri: str, work: Path, name: str, version: str) -> VersionRecord:
    """What MLflow knows of a version.

    Args:
        tracking_uri: Of the store.
        work: Folder for files that are looked into.
        name: Of the registered model.
        version: Its number, or @ and an alias.

    Raises:
        InputError: When there is no such model, version or alias.
    """
    with connected(tracking_uri) as client, artifact_dir.staging(work) as staged:
        model = lookup.require_model(client, name)
        number = _number(model.aliases, name, version)
        lookup.require_version(client, name, number)
        found = client.get_model_version(name, str(number))
        succession = champions.read_history(model)
        run_id = found.run_id or ""
        tags = {**(client.get_run(run_id).data.tags if run_id else {}), **found.tags}
        files = [file.path for file in client.list_artifacts(run_id)] if run_id else []
        return VersionRecord(
            model=model_ref(found),
            aliases=sorted(alias for alias, holder in model.aliases.items() if int(holder) == number),
            registered=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
            tags={
                tag.removeprefix(_OURS): value
                for tag, value in sorted(tags.items())
                if tag.startswith(_OURS) and tag not in _NOT_LINEAGE
            },
            specs=_specs(client, run_id, staged) if "spec.json" in files else {},
            decision=found.tags.get(DECISION, ""),
            champions=succession.champions,
            withdrawn=succession.withdrawn,
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


def _specs(client: "MlflowClient", run_id: str, staged: Path) -> dict[str, Any]:
    specs: dict[str, Any] = json.loads(Path(client.download_artifacts(run_id, "spec.json", str(staged))).read_text())
    return specs


def _others(client: "MlflowClient", tag: str, digest: str, name: str, number: int) -> list[str]:
    """All versions, of whatever model, with this digest but the one that is asked about."""
    if not digest:
        return []
    found = client.search_model_versions(f"tags.`{tag}` = '{digest}'")
    others = sorted((one.name, int(one.version)) for one in found)
    return [f"{other}/{one}" for other, one in others if (other, one) != (name, number)]
