"""The data of a registered model: a retraining on other data is refused, unless a person allows it."""

from cl_core.errors import InputError
from cl_core.modalities import Modality, Specs
from cl_core.modalities._model_input import ModelInput
from cl_core.specs import DataSpec
from tasks.adapters.mlflow.model_store import model_store
from tasks.adapters.mlflow.model_version import RegisteredData


def check_registered_data(data: DataSpec, model_name: str, *, arrays: Specs | None = None) -> None:
    """Refuse to retrain a model on data of another name, modality or input than it was trained on.

    The data of the champion and that of the newest version are both accepted: a version on new data is no champion yet.

    Args:
        data: What was asked of the data.
        model_name: Registered model; empty when nothing will be registered.
        arrays: What the samples are decoded to; None before they have been read.

    Raises:
        InputError: When neither version was trained on such data. Versions of other programs are passed over.
    """
    registered = model_store().registered_data(model_name) if model_name else {}
    modality: Modality = data.built_modality
    if not registered or any(_is_alike(known, data, modality, arrays) for known in registered.values()):
        return
    trained_on = " and ".join(f"{uri} on {_described(known)}" for uri, known in registered.items())
    asked = modality.describe(arrays) if arrays else modality.asked_for()
    raise InputError(
        f"data: {model_name!r} was trained on other data ({trained_on}) than this run asks for ({data.name!r}, "
        f"{asked}); correct data.name or the options of the data, choose another model_name, or set allow_new_data "
        "(--allow-new-data) to retrain this model on the new data"
    )


def _is_alike(known: RegisteredData, data: DataSpec, modality: Modality, arrays: Specs | None) -> bool:
    if (known.name, known.takes.modality) != (data.name, modality.served().registered_name):
        return False
    # Before the samples are read, what the options leave open decides nothing.
    return known.takes == ModelInput.of(modality, arrays) if arrays else not known.takes.other_options(modality)


def _described(known: RegisteredData) -> str:
    return f"{known.name!r}, {known.takes}"
