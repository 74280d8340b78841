"""Registration of a version: exactly once per training, after any number of attempts and kills.

The training digest is a tag that is written in the same transaction as the version. It is looked up before and checked
after. The run and the logged model have the same tag, so the next attempt completes them before it creates the version.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cl_core.failpoints import failpoint
from cl_core.refs import ModelRef
from tasks.adapters.mlflow import logged_model, lookup, training_run
from tasks.adapters.mlflow.model_card import model_card, page_card
from tasks.adapters.mlflow.model_version import (
    CHALLENGER,
    EVALUATION_DIGEST,
    WEIGHTS,
    Registration,
    lineage_from_tags,
    model_ref,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion


def register_version(
    client: "MlflowClient", registration: Registration, *, artifact_root: Path | None, staged: Path
) -> ModelRef:
    """Register a training as a version, and move the alias `challenger` to the newest version.

    A version that exists keeps its model; its scores are updated after a new evaluation.
    """
    failpoint("register.locked")
    version = _find_version(client, registration)
    created = version is None
    if version is None:
        version = _create_version(client, registration, artifact_root, staged)
    elif version.tags.get(EVALUATION_DIGEST) != registration.evaluation.digest:
        _update_evaluation(client, registration, version, staged)
    _point_challenger_at(client, registration.name, int(version.version))
    return model_ref(version, created=created)


def _find_version(client: "MlflowClient", registration: Registration) -> "ModelVersion | None":
    """Return the version with this training digest; delete duplicates, which two machines made at the same instant."""
    versions = lookup.versions_of_training(client, registration.name, registration.checkpoint.digest)
    for duplicate in versions[1:]:
        client.delete_model_version(registration.name, duplicate.version)
    return versions[0] if versions else None


def _create_version(
    client: "MlflowClient", registration: Registration, artifact_root: Path | None, staged: Path
) -> "ModelVersion":
    experiment = training_run.find_or_create_experiment(client, registration.name, artifact_root)
    failpoint("register.experiment-found")
    run = training_run.find_or_create_run(client, experiment, registration.run_tags)
    failpoint("register.run-created")
    training_run.log_parameters(client, run, registration.specs)
    failpoint("register.parameters-logged")
    training_run.log_curves(client, run, registration.curves)
    failpoint("register.curves-logged")
    training_run.log_dataset(client, run, registration.snapshot)
    failpoint("register.dataset-logged")
    _log_evaluation(client, run, registration, staged)
    tags, built = registration.run_tags, registration.build_model()
    model = logged_model.find_or_log_model(client, run, built, tags, registration.takes, staged)
    client.set_terminated(run.info.run_id, "FINISHED")
    failpoint("register.run-ended")
    _ensure_registered_model(client, registration.name)
    failpoint("register.name-registered")
    client.create_model_version(
        registration.name,
        source=model.model_uri,
        run_id=run.info.run_id,
        model_id=model.model_id,
        tags=registration.tags,
        description=page_card(registration),
    )
    failpoint("register.version-created")
    version = _find_version(client, registration)
    assert version is not None
    return version


def _update_evaluation(
    client: "MlflowClient", registration: Registration, version: "ModelVersion", staged: Path
) -> None:
    """Write the newer evaluation, its digest last, so that it is repeated after a kill; keep the lineage."""
    registration = replace(registration, lineage=lineage_from_tags(version.tags))
    _log_evaluation(client, client.get_run(model_ref(version).run_id), registration, staged)
    client.update_model_version(registration.name, version.version, description=page_card(registration))
    tags = registration.tags
    tags[EVALUATION_DIGEST] = tags.pop(EVALUATION_DIGEST)
    for tag, value in tags.items():
        client.set_model_version_tag(registration.name, version.version, tag, value)


def _log_evaluation(client: "MlflowClient", run: "Run", registration: Registration, staged: Path) -> None:
    from cl_core.export import save_weights

    training_run.log_scores(client, run, registration.evaluation, registration.checkpoint.step)
    failpoint("register.scores-logged")
    files = staged / "files"
    files.mkdir()
    specs = {name: spec.model_dump(mode="json") for name, spec in registration.specs.items()}
    (files / "spec.json").write_text(json.dumps(specs, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    # Paths would be wrong on other machines, and here once CL_HOME is moved.
    scores = registration.evaluation.model_dump_json(
        indent=1, exclude={"path": True, "assessments": {"__all__": {"path"}}}
    )
    (files / "evaluation.json").write_text(scores + "\n", encoding="utf-8")
    (files / "model_card.md").write_text(model_card(registration), encoding="utf-8")
    save_weights(registration.build_model(), files / WEIGHTS)
    client.log_artifacts(run.info.run_id, str(files))
    failpoint("register.files-uploaded")
    # The description on MLflow's page of the run.
    client.set_tag(run.info.run_id, "mlflow.note.content", page_card(registration))
    failpoint("register.described")


def _ensure_registered_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _point_challenger_at(client: "MlflowClient", name: str, version: int) -> None:
    """Move the alias to this version, unless it is at a newer one: an older training was registered again."""
    if int(client.get_registered_model(name).aliases.get(CHALLENGER, 0)) < version:
        client.set_registered_model_alias(name, CHALLENGER, str(version))
        failpoint("register.challenger-set")
