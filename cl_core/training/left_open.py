"""What a training spec leaves open, chosen for the data before anything is trained and written into the spec."""

from collections.abc import Mapping
from typing import NamedTuple

from cl_core.data.sampling import class_balanced_count
from cl_core.errors import SpecError
from cl_core.methods import MethodOptions
from cl_core.specs import TrainingSpec
from cl_core.specs.training import MOST_EPOCHS
from cl_core.training.components import Parts
from cl_core.training.preflight import TrainedOn, without_held_out

# Some minutes on two CPU cores with the small encoder: 4 epochs of Fashion-MNIST in batches of 256.
BUDGET_STEPS = 1000
# With fewer an encoder hardly changes.
FEW_STEPS = 50


class FilledIn(NamedTuple):
    """A training whose spec leaves nothing open."""

    parts: Parts
    choices: list[str]  # A sentence for each value that was chosen.
    steps: int  # Of the whole training.


def fill_in(
    parts: Parts, *, train_rows: int, classes: Mapping[str, int], of_groups: TrainedOn | None = None
) -> FilledIn:
    """Choose what is left open: options of the method that depend on the data, and the epochs.

    The same spec and data always make the same choices, so that the training has the same digest.

    Args:
        parts: The training, assembled from its spec.
        train_rows: Samples of the training split.
        classes: Its labeled samples by class; empty without labels.
        of_groups: What is trained on where whole groups are held out.

    Raises:
        SpecError: When the epochs chosen are too few for the warm-up or for an option of the method.
    """
    spec = parts.spec
    rows, classes = of_groups or without_held_out(spec, train_rows=train_rows, classes=classes)
    method = parts.method.fitted_to(classes.values(), batch_size=spec.batch_size)
    choices = [
        f"training.method_options.{option}: {value}, for batches of {spec.batch_size} from {len(classes)} classes, "
        f"the smallest of {min(classes.values(), default=0):,} samples"
        for option, value in method
        if value != getattr(parts.method, option)
    ]
    steps_per_epoch = _steps_per_epoch(spec, method, rows, classes)
    epochs = spec.epochs or min(MOST_EPOCHS, max(1, round(BUDGET_STEPS / steps_per_epoch)))
    if spec.epochs is None:
        choices.append(f"training.epochs: {epochs}, for {epochs * steps_per_epoch:,} steps")
        if spec.warmup_epochs >= epochs:
            raise SpecError(
                f"training.warmup_epochs: {spec.warmup_epochs:g} must be less than the epochs, of which {epochs} make "
                f"{epochs * steps_per_epoch:,} steps; choose less, or give training.epochs"
            )
        method.check(parts.loss, epochs=epochs)
    completed = spec.model_copy(update={"method_options": method.model_dump(mode="json"), "epochs": epochs})
    whole = parts.model_copy(update={"spec": completed, "method": method})
    return FilledIn(whole, choices, epochs * steps_per_epoch)


def _steps_per_epoch(spec: TrainingSpec, method: MethodOptions, rows: int, classes: Mapping[str, int]) -> int:
    """Return the steps of an epoch; 1 where the data fill no batch, which `check_batches` refuses."""
    batches, per_class = rows // spec.batch_size, method.batch_samples_per_class
    if 0 < per_class <= spec.batch_size:
        batches = class_balanced_count(classes.values(), batch_size=spec.batch_size, samples_per_class=per_class)
    return max(1, batches // spec.accumulate_steps)
