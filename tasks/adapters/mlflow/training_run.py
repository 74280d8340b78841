"""The MLflow run of a training: parameters, curves, scores, dataset and files, each once however often it is tried."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
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

# Parts of a progress record that say when, not how well.
_AXES = {"step", "steps", "seconds", "seconds_left"}


def find_or_create_experiment(client: "MlflowClient", name: str, artifact_root: Path | None) -> "Experiment":
    """The experiment that holds the runs of one model.

    Args:
        client: Of the store.
        name: Of the registered model.
        artifact_root: Folder for the artifacts of a new experiment; None leaves the choice to the server.

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
            f"MLflow's experiment {name!r} has been deleted; bring it back with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`, or register under another name"
        )
    return experiment


def find_or_create_run(client: "MlflowClient", experiment: "Experiment", tags: Mapping[str, str]) -> "Run":
    """The run with these tags, known by its training digest; the oldest, should two machines have created one each.

    What a killed attempt left gets the tags of this one, which finishes it.
    """
    from mlflow.entities import RunTag

    wanted = f"tags.`{TRAINING_DIGEST}` = '{tags[TRAINING_DIGEST]}'"
    found = client.search_runs([experiment.experiment_id], wanted, order_by=["attributes.start_time ASC"])
    if found:
        run_id = found[0].info.run_id
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        return client.get_run(run_id)
    return client.create_run(
        experiment.experiment_id, tags=dict(tags), run_name=f"{experiment.name} {tags[TRAINING_DIGEST][:8]}"
    )


def log_parameters(client: "MlflowClient", run: "Run", specs: Mapping[str, BaseModel]) -> None:
    """Log the specs as flat parameters, `training.batch_size` and the like, but for those that stand already."""
    from mlflow.entities import Param

    values = {path: text for name, spec in specs.items() for path, text in _flat(name, spec.model_dump(mode="json"))}
    missing = [Param(path, text) for path, text in sorted(values.items()) if path not in run.data.params]
    for batch in _batches(missing, _PARAMS_PER_BATCH):
        client.log_batch(run.info.run_id, params=batch)


def log_curves(client: "MlflowClient", run: "Run", curves: Sequence[Mapping[str, float | None]]) -> None:
    """Log the metrics of the training steps as `training/loss` and the like, but for those that stand already.

    Args:
        client: Of the store.
        run: As read from the store.
        curves: One mapping per reported step. Its `step` is the horizontal axis of the others, and so is `seconds`,
            the time spent training, where it is given. None was not measured at this step.
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
    """Log every score with its interval, unless the run shows the same number already.

    The trained encoder's scores go by their names; those of the baselines have the baseline's name before.
    """
    from mlflow.entities import Metric

    numbers: dict[str, float] = {}
    for representation, found in report.representations.items():
        prefix = "" if representation == "trained" else f"{representation}/"
        for name, score in found.scores.items():
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
    """Log the snapshot as the run's input. MLflow keeps 36 digits of its digest; the run's tag has all 64."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if run.inputs and run.inputs.dataset_inputs:
        return
    dataset = Dataset(
        name=snapshot.name,
        digest=snapshot.digest[:_DATASET_DIGEST_CHARACTERS],
        source_type="local",
        source=json.dumps({"uri": snapshot.path.as_uri()}),
        profile=json.dumps({"rows": snapshot.rows, "classes": len(snapshot.classes), "channels": snapshot.channels}),
    )
    client.log_inputs(run.info.run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def fetch_files(client: "MlflowClient", model: ModelRef, files: Sequence[str], into: Path) -> None:
    """Copy files of a version's run into a folder.

    Raises:
        InputError: When there is none of that name, as with a version that was not registered by Counterpoint.
    """
    there = {file.path for file in client.list_artifacts(model.run_id)} if model.run_id else set()
    for name in files:
        if name not in there:
            raise InputError(
                f"{model.uri} keeps no {name} beside the model (it has: {', '.join(sorted(there)) or 'nothing'}); "
                "`cl register` and `cl retrain` register versions that do"
            )
        client.download_artifacts(model.run_id, name, str(into))


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}", inner)
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        yield path, text if len(text) <= _PARAM_CHARACTERS else text[: _PARAM_CHARACTERS - 1] + "…"


def _log_metrics(client: "MlflowClient", run: "Run", metrics: "list[Metric]") -> None:
    for batch in _batches(metrics, _METRICS_PER_BATCH):
        client.log_batch(run.info.run_id, metrics=batch)


def _batches(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
