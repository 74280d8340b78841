"""What the registered versions refer to, for retention; and the mark on a version that loses what it was made from."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cl_core.retention.inventory_items import VersionInputs
from cl_core.retention.policy import BrokenLineage
from tasks.adapters.mlflow import champion_history as champions
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_version import LOST, SNAPSHOT_DIGEST, TRAINING_DIGEST

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.entities import PagedList

# MLflow's own limit on the text of a tag.
_TAG_CHARACTERS = 5000


def registered_versions(tracking_uri: str) -> list[VersionInputs]:
    """All versions of all models, and what speaks for each; nothing is changed.

    Raises:
        StoreUnreachableError: When MLflow does not answer.
    """
    with connected(tracking_uri) as client:
        names = [model.name for model in _pages(client.search_registered_models)]
        return [version for name in sorted(names) for version in _versions_of(client, name)]


def record_broken_lineage(tracking_uri: str, broken: Iterable[BrokenLineage]) -> None:
    """Leave with each version what it loses, and when; what an earlier time has left stays."""
    with connected(tracking_uri) as client:
        for loss in broken:
            before = client.get_model_version(loss.name, str(loss.version)).tags.get(LOST, "")
            if loss.sentence not in before:
                text = f"{before}\n{datetime.now(UTC):%Y-%m-%d}: {loss.sentence}".strip()
                client.set_model_version_tag(loss.name, str(loss.version), LOST, text[-_TAG_CHARACTERS:])


def _versions_of(client: "MlflowClient", name: str) -> Iterator[VersionInputs]:
    model = client.get_registered_model(name)
    found = list(_pages(client.search_model_versions, f"name = '{name}'"))
    held: dict[int, list[str]] = {}
    for alias, version in sorted(model.aliases.items()):
        held.setdefault(int(version), []).append(alias)
    for version, why in champions.reserved_versions(model, {int(version.version) for version in found}).items():
        held.setdefault(version, []).append(why)
    for version in found:
        number = int(version.version)
        yield VersionInputs(
            name=name,
            version=number,
            training=version.tags.get(TRAINING_DIGEST, ""),
            snapshot=version.tags.get(SNAPSHOT_DIGEST, ""),
            held_by=held.get(number, []),
        )


def _pages(search: "Callable[..., PagedList[Any]]", *query: str) -> Iterator[Any]:
    """All that a search finds: one that is missed here would lose what it was made from."""
    token: str | None = None
    while True:
        page = search(*query, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
