"""What registered versions were made from, for pruning; and the tag of a version whose inputs were pruned."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cl_core.report.reasons import broken_lineage_sentence
from cl_core.retention.inventory_items import VersionInputs
from cl_core.retention.policy import BrokenLineage
from tasks.adapters.mlflow import lookup
from tasks.adapters.mlflow.champion_history import reserved_versions
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_version import LOST, SNAPSHOT_DIGEST, TRAINING_DIGEST

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own limit on the text of a tag.
_TAG_CHARACTERS = 5000


def registered_versions(tracking_uri: str) -> list[VersionInputs]:
    """Return all versions of all models with their inputs, and why each is kept; change nothing.

    Raises:
        StoreUnreachableError: When MLflow does not answer.
    """
    with connected(tracking_uri) as client:
        return [version for name in lookup.model_names(client) for version in _versions_of(client, name)]


def record_broken_lineage(tracking_uri: str, broken: Iterable[BrokenLineage]) -> None:
    """Tag each version with what it loses, and when; add to what was tagged before."""
    with connected(tracking_uri) as client:
        for loss in broken:
            before = client.get_model_version(loss.name, str(loss.version)).tags.get(LOST, "")
            if (sentence := broken_lineage_sentence(loss)) not in before:
                text = f"{before}\n{datetime.now(UTC):%Y-%m-%d}: {sentence}".strip()
                client.set_model_version_tag(loss.name, str(loss.version), LOST, text[-_TAG_CHARACTERS:])


def _versions_of(client: "MlflowClient", name: str) -> Iterator[VersionInputs]:
    model = client.get_registered_model(name)
    versions = lookup.all_versions(client, name)
    held_by: dict[int, list[str]] = {}
    for alias, version in sorted(model.aliases.items()):
        held_by.setdefault(int(version), []).append(alias)
    for version, reason in reserved_versions(model, {int(version.version) for version in versions}).items():
        held_by.setdefault(version, []).append(reason)
    for version in versions:
        number = int(version.version)
        yield VersionInputs(
            name=name,
            version=number,
            training=version.tags.get(TRAINING_DIGEST, ""),
            snapshot=version.tags.get(SNAPSHOT_DIGEST, ""),
            held_by=held_by.get(number, []),
        )
