"""A server or the worker is gone for half a minute while a run is at work: the run comes to the same."""

import contextlib
import os
import time
from collections.abc import Iterator

import psutil
import pytest
from chaos.__main__ import SITE
from chaos.audit import Audit, audit
from chaos.cases import RECIPE
from machine import Machine, at_work, wait

# Each takes two minutes, most of them waiting.
pytestmark = [pytest.mark.sweep, pytest.mark.timeout(600)]

OUTAGE_S = 30
DECLARATION = {
    "work_pool": "counterpoint",
    "deployments": [{"name": "chaos", "flow": "flows.retrain.retrain", "parameters": RECIPE}],
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with at_work(tmp_path_factory.mktemp("outages"), DECLARATION) as machine:
        yield machine


@pytest.fixture(scope="module")
def undisturbed(machine: Machine) -> Audit:
    run = start(machine, "undisturbed", "")
    assert machine.wait_for(run)["type"] == "COMPLETED", machine.logs(run)
    return audited(machine, "undisturbed", "")


@pytest.mark.parametrize(
    ("service", "place"),
    [
        ("Prefect server", "pretrain.step-taken:20"),
        ("worker", "pretrain.step-taken:20"),
        ("MLflow server", "register.parameters-logged"),
    ],
)
def test_half_a_minute_without_a_service_costs_time_only(
    machine: Machine, undisturbed: Audit, service: str, place: str
) -> None:
    name = service.split()[0].lower()
    run = start(machine, name, f"{place}=stop")
    marker = machine.home.parent / name / "work" / "failpoints" / place.partition(":")[0]
    wait(marker.exists, 180, lambda: machine.logs(run))
    process = machine.process_of(run)
    with outage(machine, service):
        process.resume()
    assert machine.wait_for(run, "COMPLETED", "FAILED", "CANCELLED", timeout=300)["type"] == "COMPLETED"
    process.wait(60)
    found = audited(machine, name, undisturbed.weights)
    assert found.problems == []


@contextlib.contextmanager
def outage(machine: Machine, service: str) -> Iterator[None]:
    """Half a minute in which a service does not run; then its supervisor, stopped so long, starts it again."""
    assert machine.process is not None
    supervisor, victim = psutil.Process(machine.process.pid), machine.service(service)
    supervisor.suspend()
    # What a worker runs is not the worker.
    family = [victim] if service == "worker" else [victim, *victim.children(recursive=True)]
    for one in family:
        one.kill()
    ended = time.monotonic() + OUTAGE_S
    yield
    time.sleep(max(0, ended - time.monotonic()))
    supervisor.resume()
    wait(lambda: machine.pid(service) not in (0, victim.pid), 60)


def start(machine: Machine, name: str, failpoints: str) -> str:
    environment = {"CL_HOME": str(machine.home.parent / name), "CL_FAILPOINTS": failpoints}
    environment["PYTHONPATH"] = os.pathsep.join([str(SITE), os.environ.get("PYTHONPATH", "")])
    return machine.run("retrain/chaos", {"model_name": name}, env=environment)


def audited(machine: Machine, name: str, weights: str) -> Audit:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CL_HOME", str(machine.home.parent / name))
        patch.setenv("MLFLOW_TRACKING_URI", machine.mlflow)
        return audit(name, weights=weights, checkpoint_every_s=0.001, longest_step_s=5)
