"""Checks for what killed registrations and promotions left in MLflow, and the repair of each."""

import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from cl_core.report.reasons import champion_label, decision_sentence
from tasks.adapters.mlflow import champion_history as champions
from tasks.adapters.mlflow import lookup
from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_store import ModelStore
from tasks.adapters.mlflow.model_version import CHAMPION, TRAINING_DIGEST
from tasks.runtime.inventory import Diagnosis
from tasks.runtime.settings import is_server

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

# Other machines use a server too, and their locks are not visible here: younger runs may still be at work. Seconds.
SHARED_GRACE_S = 3600


def check_registry(store: ModelStore, *, name: str = "", grace_s: float | None = None) -> list[Diagnosis]:
    """Return unfinished registrations and promotions, except of models that a process of this machine is changing.

    Args:
        store: Whose models are checked.
        name: Of the only model to check; empty: all.
        grace_s: Younger runs are not checked. Seconds; by default an hour on a server, 0 on a database.
    """
    before = time.time() - (grace_s if grace_s is not None else SHARED_GRACE_S if is_server(store.tracking_uri) else 0)
    with connected(store.tracking_uri) as client:
        experiments = {
            experiment.name: experiment.experiment_id for experiment in client.search_experiments(max_results=1000)
        }
        diagnoses: list[Diagnosis] = []
        for model in [name] if name else sorted({*experiments, *lookup.model_names(client)}):
            if store.is_locked(model):
                continue
            versions = lookup.all_versions(client, model)
            if experiment := experiments.get(model):
                diagnoses += _unregistered(store, model, experiment, client, versions, before)
                diagnoses += _unfinished_models(store, model, experiment, client, before)
            diagnoses += _versions(store, model, versions)
            diagnoses += _champion(store, model, client)
    return diagnoses


def _unregistered(
    store: ModelStore,
    name: str,
    experiment: str,
    client: "MlflowClient",
    versions: "list[ModelVersion]",
    before: float,
) -> Iterator[Diagnosis]:
    of_versions = {version.run_id for version in versions}
    for run in client.search_runs([experiment], f"tags.`{TRAINING_DIGEST}` LIKE '%'"):
        if run.info.run_id not in of_versions and run.info.start_time / 1000 <= before:
            yield Diagnosis(
                f"a run of model {name!r} has no version: its registration did not finish",
                f"MLflow run {run.info.run_id}",
                "deletes the run; `cl retrain` with the same options registers the version",
                partial(_delete_run, store, name, run.info.run_id),
            )


def _unfinished_models(
    store: ModelStore, name: str, experiment: str, client: "MlflowClient", before: float
) -> Iterator[Diagnosis]:
    for logged in client.search_logged_models([experiment]):
        if logged.status != "READY" and logged.creation_timestamp / 1000 <= before:
            yield Diagnosis(
                f"the upload of a model of {name!r} did not finish",
                f"MLflow model {logged.model_id}",
                "deletes it",
                partial(_change, store, name, "delete_logged_model", logged.model_id),
            )


def _versions(store: ModelStore, name: str, versions: "list[ModelVersion]") -> Iterator[Diagnosis]:
    seen: set[str] = set()
    for version in sorted(versions, key=lambda version: int(version.version)):
        where = f"models:/{name}/{version.version}"
        digest = version.tags.get(TRAINING_DIGEST, "")
        if not digest:
            yield Diagnosis(
                "a version has no tag with its training digest",
                where,
                "delete it in MLflow, or keep it: the gate cannot compare it",
            )
        elif digest in seen:
            yield Diagnosis(
                f"a training was registered twice as {name!r}",
                where,
                "deletes the later version",
                partial(_change, store, name, "delete_model_version", name, version.version),
            )
        seen.add(digest)


def _champion(store: ModelStore, name: str, client: "MlflowClient") -> Iterator[Diagnosis]:
    model = lookup.find_model(client, name)
    if model is None:
        return
    history = champions.read_history(model)
    alias = int(model.aliases.get(CHAMPION, 0))
    where = f"models:/{name}@{CHAMPION}"
    if history.pending is not None:
        yield Diagnosis(
            f"a {history.pending.kind} of {name!r} did not finish",
            where,
            f"finishes it: {decision_sentence(history.pending.decision)}",
            partial(_reconcile, store, name),
        )
    elif alias != history.champion:
        yield Diagnosis(
            f"the alias of {name!r} points at {champion_label(alias)}, its history ends with "
            f"{champion_label(history.champion)}",
            where,
            "adds the alias to the history: it was set in MLflow itself"
            if alias
            else "promote a version (`cl promote`), or set the alias in MLflow",
            partial(_reconcile, store, name) if alias else None,
        )


def _change(store: ModelStore, name: str, method: str, *arguments: str) -> None:
    """Call a method of the client while no other process changes the model."""
    with store.locked(name) as client:
        getattr(client, method)(*arguments)


def _delete_run(store: ModelStore, name: str, run_id: str) -> None:
    with store.locked(name) as client:
        experiment = client.get_run(run_id).info.experiment_id
        for logged in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
            client.delete_logged_model(logged.model_id)
        client.delete_run(run_id)


def _reconcile(store: ModelStore, name: str) -> None:
    with store.locked(name) as client:
        champions.reconcile(client, name)
