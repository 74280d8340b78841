"""The data of a registered model: a retraining on other data is refused, unless a person allows it."""

from cl_core.errors import InputError
from cl_core.report.wording import range_text
from cl_core.specs import DataSpec, ValueRange
from tasks.adapters.mlflow.model_store import model_store


def check_registered_data(data: DataSpec, model_name: str, *, channels: int = 0) -> None:
    """Refuse to retrain a model on data of another name or with another input than it was trained on.

    The data of the champion and that of the newest version are both accepted: a version on new data is no champion yet.

    Args:
        data: What was asked of the data.
        model_name: Registered model; empty when nothing will be registered.
        channels: Of the images; 0 before they have been read.

    Raises:
        InputError: When neither version was trained on such data. Versions that do not record theirs are passed over.
    """
    registered = model_store().registered_data(model_name) if model_name else {}
    for known in registered.values():
        same_images = known.image_size == data.image_size and channels in (0, known.channels)
        if known.name == data.name and same_images and known.value_range == data.value_range:
            return
    if registered:
        trained_on = " and ".join(
            f"{uri} on {_described(known.name, known.image_size, known.channels, known.value_range)}"
            for uri, known in registered.items()
        )
        ranges = {data.value_range, *(known.value_range for known in registered.values())}
        fields = (
            "data.name or data.image_size" if ranges == {None} else "data.name, data.image_size or data.value_range"
        )
        raise InputError(
            f"data: {model_name!r} was trained on other data ({trained_on}) than this run asks for "
            f"({_described(data.name, data.image_size, channels, data.value_range)}); correct {fields}, choose "
            "another model_name, or set allow_new_data (--allow-new-data) to retrain this model on the new data"
        )


def _described(name: str, image_size: int, channels: int, value_range: ValueRange | None) -> str:
    """Return data in words; without the channels where they are not known yet."""
    of_channels = f" x {channels}" if channels else ""
    of_values = f" with {range_text(value_range)}" if value_range else ""
    return f"{name!r} at {image_size} x {image_size}{of_channels}{of_values}"
