"""The MLflow run of a training: parameters, curves, scores, dataset and files, each logged once over all attempts."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from cl_core.errors import InputError
from cl_core.refs import EvaluationReport, ModelRef, SnapshotRef
from tasks.adapters.mlflow.model_version import TRAINING_DIGEST

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Metric, Run

# MLflow's own limits.
_PARAMS_PER_BATCH = 100
_METRICS_PER_BATCH = 1000
_PARAM_CHARACTERS = 6000
_DATASET_DIGEST_CHARACTERS = 36

# Parts of a progress record that are no metrics but times and positions.
_AXES = {"step", "steps", "seconds", "seconds_left"}


def find_or_create_experiment(client: "MlflowClient", name: str, artifact_root: Path | None) -> "Experiment":
    """Return the experiment with the runs of one model; create it when there is none.

    Without a root for its artifacts, the choice is left to the server.

    Raises:
        InputError: When the experiment has been deleted in MLflow.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            client.create_experiment(name, None if artifact_root is None else (artifact_root / name).as_uri())
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    if experiment.lifecycle_stage == "deleted":
        raise InputError(
            f"MLflow's experiment {name!r} has been deleted; restore it with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`, or register under another name"
        )
    return experiment


def find_or_create_run(client: "MlflowClient", experiment: "Experiment", tags: Mapping[str, str]) -> "Run":
    """Return the run of a training digest, the oldest if two machines created one each; create it when there is none.

    The run of a killed attempt gets the tags of this attempt, which completes it.
    """
    from mlflow.entities import RunTag

    query = f"tags.`{TRAINING_DIGEST}` = '{tags[TRAINING_DIGEST]}'"
    if runs := client.search_runs([experiment.experiment_id], query, order_by=["attributes.start_time ASC"]):
        run_id = runs[0].info.run_id
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        return client.get_run(run_id)
    return client.create_run(
        experiment.experiment_id, tags=dict(tags), run_name=f"{experiment.name} {tags[TRAINING_DIGEST][:8]}"
    )


def log_parameters(client: "MlflowClient", run: "Run", specs: Mapping[str, BaseModel]) -> None:
    """Log the specs as flat parameters, `training.batch_size` and the like, except those that were logged before."""
    from mlflow.entities import Param

    values = {path: text for name, spec in specs.items() for path, text in _flat(name, spec.model_dump(mode="json"))}
    missing = [Param(path, text) for path, text in sorted(values.items()) if path not in run.data.params]
    for start in range(0, len(missing), _PARAMS_PER_BATCH):
        client.log_batch(run.info.run_id, params=missing[start : start + _PARAMS_PER_BATCH])


def log_curves(client: "MlflowClient", run: "Run", curves: Sequence[Mapping[str, float | None]]) -> None:
    """Log the metrics of the training steps as `training/loss` and the like, except those that were logged before.

    Args:
        client: Of the store.
        run: As read from the store.
        curves: One mapping per reported step. Its `step` and, where given, `seconds` (time spent training) are the
            horizontal axes of the others. A value of None was not measured at this step.
    """
    from mlflow.entities import Metric

    logged = {
        key: {point.step for point in client.get_metric_history(run.info.run_id, key)}
        for key in run.data.metrics
        if key.startswith("training/")
    }
    points = {}
    for record in curves:
        measured = {name: value for name, value in record.items() if value is not None}
        step, time_ms = int(measured["step"]), run.info.start_time + int(1000 * measured.get("seconds", 0))
        for key, value in {f"training/{name}": measured[name] for name in measured.keys() - _AXES}.items():
            if step not in logged.get(key, ()):
                points[key, step] = Metric(key, float(value), time_ms, step)
    _log_metrics(client, run, list(points.values()))


def log_scores(client: "MlflowClient", run: "Run", report: EvaluationReport, step: int) -> None:
    """Log every score with its interval, unless the run has the same number.

    The trained encoder's scores have their own names; those of a baseline have its name as a prefix.
    """
    from mlflow.entities import Metric

    numbers: dict[str, float] = {}
    for representation, measured in report.representations.items():
        prefix = "" if representation == "trained" else f"{representation}/"
        for name, score in measured.scores.items():
            key = f"{prefix}{name}"
            numbers |= {key: score.value, f"{key}_low": score.low, f"{key}_high": score.high}
    now_ms = int(1000 * time.time())
    changed = [
        Metric(key, number, now_ms, step)
        for key, number in numbers.items()
        if math.isfinite(number) and run.data.metrics.get(key) != number
    ]
    _log_metrics(client, run, changed)


def log_dataset(client: "MlflowClient", run: "Run", snapshot: SnapshotRef) -> None:
    """Log the snapshot as the run's input, with 36 digits of its digest, MLflow's limit; the run's tag has all 64."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if run.inputs and run.inputs.dataset_inputs:
        return
    dataset = Dataset(
        name=snapshot.name,
        digest=snapshot.digest[:_DATASET_DIGEST_CHARACTERS],
        source_type="local",
        source=json.dumps({"uri": snapshot.path.as_uri()}),
        profile=json.dumps({"rows": snapshot.rows, "classes": len(snapshot.classes), "modality": snapshot.modality}),
    )
    client.log_inputs(run.info.run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def fetch_files(client: "MlflowClient", model: ModelRef, files: Sequence[str], into: Path) -> None:
    """Copy files of a version's run into a folder.

    Raises:
        InputError: When there is no file of that name, as in a version that another program registered.
    """
    existing = {file.path for file in client.list_artifacts(model.run_id)} if model.run_id else set()
    for name in files:
        if name not in existing:
            raise InputError(
                f"the run of {model.uri} has no file {name} (it has: {', '.join(sorted(existing)) or 'none'}); "
                "choose a version that `cl register` or `cl retrain` registered"
            )
        client.download_artifacts(model.run_id, name, str(into))


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    # What people name, such as classes, may hold characters that MLflow refuses: such a value is logged as a whole.
    if isinstance(value, dict) and value and all(map(str.isidentifier, value)):
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}", inner)
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        yield path, text if len(text) <= _PARAM_CHARACTERS else text[: _PARAM_CHARACTERS - 1] + "…"


def _log_metrics(client: "MlflowClient", run: "Run", metrics: "list[Metric]") -> None:
    for start in range(0, len(metrics), _METRICS_PER_BATCH):
        client.log_batch(run.info.run_id, metrics=metrics[start : start + _METRICS_PER_BATCH])
