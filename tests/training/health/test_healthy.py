"""No training is accused of a collapse that it does not suffer, however slow or unusual it is."""

import pytest
from small_methods import NAMES, changes
from small_training import JobOf

from cl_core.specs import ComputeSpec
from cl_core.training.loop import train

COMPUTE = ComputeSpec(threads=1, checkpoint_every_s=3600, report_every_s=3600)


SAMPLED = ("siamese", "simclr")
SWEPT = pytest.mark.sweep


@pytest.mark.integration
@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in SAMPLED else SWEPT) for name in NAMES])
def test_no_method_is_stopped_in_two_hundred_healthy_steps(job_of: JobOf, name: str) -> None:
    assert train(job_of(compute=COMPUTE, **{**changes(name), "epochs": 25})).step >= 200


@pytest.mark.integration
@pytest.mark.parametrize(
    "fields",
    [
        {"learning_rate": 1e-5},
        pytest.param({"learning_rate": 1e-5, "loss_options": {"temperature": 0.05}}, marks=SWEPT),
        pytest.param({"loss_options": {"temperature": 0.03}}, marks=SWEPT),
        pytest.param({"optimizer": "lars", "learning_rate": 1.0}, marks=SWEPT),
        {"encoder": "mlp", "encoder_options": {}, "warmup_epochs": 10},
    ],
    ids=str,
)
def test_slow_and_unusual_trainings_are_not_accused(job_of: JobOf, fields: dict[str, object]) -> None:
    larger = {"batch_size": 64, "method_options": {"projector_hidden": 64, "projector_features": 32}, "epochs": 38}
    assert train(job_of(compute=COMPUTE, **larger | fields)).step == 152
