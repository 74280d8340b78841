"""The logged model: a pt2 program that MLflow serves, saved and uploaded through the client alone.

`mlflow.pytorch.log_model` does the same through the run that is active in this thread, and loads the saved model to
infer its requirements. Here each step is a call of its own, so that the next attempt can continue after a kill.
"""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cl_core import artifact_dir
from cl_core.errors import ForeignModelError, InputError
from cl_core.failpoints import failpoint
from cl_core.modalities import ArraySpec, Specs
from cl_core.modalities._model_input import ModelInput
from cl_core.refs import ComparisonReason, ModelRef
from cl_core.registry import MODALITIES
from cl_core.report.reasons import foreign_sentence
from tasks.adapters.mlflow.compat import installed_requirements
from tasks.adapters.mlflow.connection import pytorch_flavor
from tasks.adapters.mlflow.model_version import (
    TRAINING_DIGEST,
    RegisteredData,
    modality_from_tags,
    model_ref,
    recorded_modality,
    second_from_tags,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion
    from torch import nn

    from cl_core.export import EmbeddingModel

NAME = "encoder"


def find_or_log_model(
    client: "MlflowClient",
    run: "Run",
    model: "EmbeddingModel",
    tags: Mapping[str, str],
    takes: ModelInput,
    staged: Path,
) -> "LoggedModel":
    """Return the run's uploaded model; upload it when there is none, and delete incomplete uploads of killed runs."""
    from mlflow.entities import LoggedModelOutput

    uploads = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    ready = [logged for logged in uploads if logged.status == "READY"]
    for logged in uploads:
        if logged.status != "READY":
            client.delete_logged_model(logged.model_id)
    logged = ready[0] if ready else _log_model(client, run, model, tags, takes, staged / "model")
    outputs = run.outputs.model_outputs if run.outputs else []
    if logged.model_id not in {output.model_id for output in outputs}:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    failpoint("register.model-linked")
    return logged


def _log_model(
    client: "MlflowClient",
    run: "Run",
    model: "EmbeddingModel",
    tags: Mapping[str, str],
    takes: ModelInput,
    folder: Path,
) -> "LoggedModel":
    logged = client.create_logged_model(
        run.info.experiment_id, name=NAME, source_run_id=run.info.run_id, tags=dict(tags)
    )
    failpoint("register.model-created")
    save_programs(model, takes, folder, logged)
    failpoint("register.model-saved")
    client.log_model_artifacts(logged.model_id, str(folder))
    failpoint("register.model-uploaded")
    final = client.finalize_logged_model(logged.model_id, "READY")
    failpoint("register.model-finalized")
    return final


def save_programs(model: "EmbeddingModel", takes: ModelInput, folder: Path, logged: "LoggedModel") -> None:
    """Write the model into a new folder in MLflow's format; of pairs of two kinds, the second program beside it."""
    first = model.of_side(0) if takes.second else model
    save_model(first, [column.name for column in takes.kind.columns], folder, logged)
    if takes.second:
        import torch

        from cl_core.export import export_program

        torch.export.save(export_program(model.of_side(1)), folder / second_program(takes))


def second_program(takes: ModelInput) -> str:
    """Return the file of the program for second sides, such as text.pt2."""
    assert takes.second is not None, "asked of a model with two programs"
    return f"{takes.second.kind.unit}.pt2"


def load_program(client: "MlflowClient", ref: ModelRef, side: int) -> "nn.Module":
    """Load the program for one side of pairs of a version; call it inside `connected`."""
    import torch

    if not side:
        program: nn.Module = pytorch_flavor().load_model(ref.uri)
        return program
    from mlflow.artifacts import download_artifacts

    file = second_program(model_input(client, ref))
    with tempfile.TemporaryDirectory() as folder:
        file = download_artifacts(artifact_uri=f"{ref.uri}/{file}", dst_path=folder)
        return torch.export.load(file).module()


def save_model(model: "EmbeddingModel", columns: Sequence[str], folder: Path, logged: "LoggedModel") -> None:
    """Write the model, which takes these columns, into a new folder in MLflow's format, under the logged model's id."""
    import mlflow
    import numpy as np
    import torch
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    from cl_core.export import export_program

    # Two rows: a batch of one would be frozen into the program.
    example = model.example()
    features, arrays = model(*example).shape[1], [rows.numpy() for rows in example]
    # A single input has no name: MLflow would pass a dictionary of named inputs to the program. Several need names.
    names = columns if len(arrays) > 1 else [None]
    inputs: list[ColSpec | TensorSpec] = [
        TensorSpec(rows.dtype, (-1, *rows.shape[1:]), name) for name, rows in zip(names, arrays, strict=True)
    ]
    signature = ModelSignature(Schema(inputs), Schema([TensorSpec(np.dtype(np.float32), (-1, features))]))
    with installed_requirements():
        pytorch_flavor().save_model(
            export_program(model).module(),
            str(folder),
            mlflow_model=Model(
                artifact_path=logged.model_uri,  # The location would be wrong once CL_HOME is moved.
                run_id=logged.source_run_id,
                model_id=logged.model_id,
                model_uuid=logged.model_id,
            ),
            signature=signature,
            input_example=arrays if len(arrays) > 1 else arrays[0],
            serialization_format="pt2",
            pip_requirements=[
                f"mlflow=={mlflow.__version__}",
                f"numpy=={np.__version__}",
                # Without the local part that names a build (+cpu, +cu130): indexes do not have it.
                f"torch=={torch.__version__.partition('+')[0]}",
            ],
        )


def model_input(client: "MlflowClient", ref: ModelRef) -> ModelInput:
    """Return what a version takes, from its signature and tags; call it inside `connected`.

    Raises:
        ForeignModelError: When its signature is not an array for each column, or its modality is not installed, or
            gives no such arrays: another program registered it.
    """
    tags = client.get_model_version(ref.name, str(ref.version)).tags
    if (name := recorded_modality(tags)) not in MODALITIES.names():
        raise _foreign(ref, code="unknown_modality", modality=name)
    arrays = _input_arrays(ref, len(MODALITIES.get(name, field="modality").columns))
    name, hidden = modality_from_tags(tags)
    shapes = tuple(array.shape for array in arrays)
    taken = ModelInput(modality=name, shapes=shapes, hidden=hidden, second=second_from_tags(tags))
    try:
        if arrays != taken.arrays:
            raise ValueError(f"its arrays are {' and '.join(array.dtype for array in arrays)}")
        taken.kind.describe(arrays)
    except ValueError as error:
        raise _foreign(ref, code="other_arrays", modality=name, detail=str(error)) from error
    return taken


def recorded_data(client: "MlflowClient", version: "ModelVersion") -> RegisteredData | None:
    """Return the data that a version was trained on; None where another program registered it.

    0.1.0 recorded the name with the run, and what the encoder takes in the signature alone.
    """
    if (tagged := RegisteredData.from_tags(version.tags)) is not None or TRAINING_DIGEST not in version.tags:
        return tagged
    run = client.get_run(version.run_id or "")
    for used in run.inputs.dataset_inputs if run.inputs else ():
        with suppress(InputError):
            return RegisteredData(name=used.dataset.name, takes=model_input(client, model_ref(version)))
    return None


def _input_arrays(ref: ModelRef, number: int) -> Specs:
    pytorch_flavor()
    from mlflow.models import get_model_info

    signature = get_model_info(ref.uri).signature
    inputs = signature.inputs.inputs if signature else []
    shapes = [tuple(int(side) for side in one.shape[1:]) if hasattr(one, "shape") else () for one in inputs]
    if len(inputs) != number or () in shapes:
        wanted = f"{number} arrays" if number > 1 else ""
        raise _foreign(ref, code="not_one_array", takes=str(signature.inputs) if signature else "", detail=wanted)
    return tuple(ArraySpec(one.type.name, shape) for one, shape in zip(inputs, shapes, strict=True))


def _foreign(ref: ModelRef, **reason: str) -> ForeignModelError:
    return ForeignModelError(foreign_sentence(ref.uri, ComparisonReason.model_validate(reason)), reason)


def copy_model(ref: ModelRef, folder: Path) -> None:
    """Copy a version's files into a new folder, which exists only when it is whole.

    Raises:
        InputError: When the folder exists.
    """
    from mlflow.artifacts import download_artifacts

    if folder.exists():
        raise InputError(f"folder: {folder} exists already; remove it, or give another")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with artifact_dir.staging(folder.parent) as staged:
        Path(download_artifacts(artifact_uri=ref.uri, dst_path=str(staged / "model"))).rename(folder)
