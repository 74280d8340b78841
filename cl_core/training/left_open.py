"""What a training spec leaves open, chosen for the data before anything is trained and written into the spec."""

from collections.abc import Mapping
from typing import NamedTuple

from cl_core.training.components import Parts
from cl_core.training.preflight import without_held_out


class FilledIn(NamedTuple):
    """A training whose spec leaves nothing open."""

    parts: Parts
    choices: list[str]  # A sentence for each value that was chosen.


def fill_in(parts: Parts, *, train_rows: int, classes: Mapping[str, int]) -> FilledIn:
    """Choose what is left open in the options of the method.

    The same spec and data always make the same choices, so that the training has the same digest.

    Args:
        parts: The training, assembled from its spec.
        train_rows: Samples of the training split.
        classes: Its labeled samples by class; empty without labels.
    """
    spec = parts.spec
    _, classes = without_held_out(spec, train_rows=train_rows, classes=classes)
    method = parts.method.fitted_to(classes.values(), batch_size=spec.batch_size)
    choices = [
        f"training.method_options.{option}: {value}, for batches of {spec.batch_size} from {len(classes)} classes, "
        f"the smallest of {min(classes.values(), default=0):,} samples"
        for option, value in method
        if value != getattr(parts.method, option)
    ]
    completed = spec.model_copy(update={"method_options": method.model_dump(mode="json")})
    return FilledIn(parts.model_copy(update={"spec": completed, "method": method}), choices)
