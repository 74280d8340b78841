"""What the processes do that are forked for the tests of faults."""

from pathlib import Path
from typing import Any
from uuid import UUID


def work_on(parameters: dict[str, Any], place: Path) -> None:
    """As a Prefect worker's process does with a deployed run that is new, or has crashed and is scheduled again.

    Args:
        parameters: Of the flow.
        place: File that names the flow run, so that the same one is put back to work; without it, a new one is made.
    """
    from prefect import get_client
    from prefect.flow_engine import run_flow
    from prefect.states import Pending, Scheduled

    from flows.retrain import retrain

    with get_client(sync_client=True) as client:
        if place.exists():
            flow_run = client.read_flow_run(UUID(place.read_text()))
            client.set_flow_run_state(flow_run.id, Scheduled(name="AwaitingRetry"), force=True)
            flow_run = client.read_flow_run(flow_run.id)
        else:
            flow_run = client.create_flow_run(retrain, parameters=parameters, state=Pending())
            place.write_text(str(flow_run.id))
    run_flow(retrain, flow_run=flow_run, parameters=parameters)


def make_empty_store() -> None:
    """Let MLflow make its tables, which takes seconds."""
    from tasks.adapters.mlflow.model_store import model_store

    assert model_store().names() == []


def doctor(mend: bool) -> None:
    """`cl doctor`."""
    from flows.cli.doctor import doctor

    doctor(mend=mend)
