"""`cl up` removes the deployments that it made and no longer declares, and no run that waits for its retry is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Running

from flows.deployments.apply import MARK, apply_deployments, plan_deployments
from flows.deployments.schema import Declaration

POOL = "upgraded"
TINY = {
    "data": {"name": "tiny", "source": "synthetic", "source_options": {"count": 200, "size": 16}, "image_size": 16},
    "compute": {"threads": 1},
}
# As 0.1.0 declared them: one that is declared no more, one whose name and module went, one that stays.
DECLARED_BY_0_1 = {
    "stale": "flows.prune.prune",
    "theirs": "flows.ingest.ingest",
    "kept": "flows.retrain.retrain",
}


@pytest.fixture
def client(prefect_server: str) -> Any:
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        yield client


def declared(folder: Path, *deployments: dict[str, Any]) -> Declaration:
    file = folder / "prefect.yaml"
    # What is JSON is YAML.
    file.write_text(json.dumps({"work_pool": POOL, "deployments": list(deployments)}))
    return Declaration.read(file)


def as_0_1_made_it(client: SyncPrefectClient, folder: Path, name: str, flow: str) -> UUID:
    """A deployment without a mark, at its old module, which runs every night."""
    every_night = [{"slug": "nightly", "cron": "0 3 * * *"}]
    parameters = {} if flow == "flows.prune.prune" else TINY
    one = {"name": name, "flow": flow, "parameters": parameters, "schedules": every_night}
    (deployment,) = plan_deployments(declared(folder, one), folder)
    deployment.tags, deployment.entrypoint = [], flow
    client_id: UUID = deployment.apply()
    return client_id


def names(client: SyncPrefectClient) -> dict[str, Any]:
    return {one.name: one for one in client.read_deployments() if one.work_pool_name == POOL}


def test_an_upgrade_removes_stale_deployments_and_completes_the_run_that_waits_for_its_retry(
    client: SyncPrefectClient, prefect_server: str, tmp_path: Path
) -> None:
    apply_deployments(POOL, [], source="prefect.yaml")  # Makes the work pool.
    ids = {name: as_0_1_made_it(client, tmp_path, name, flow) for name, flow in DECLARED_BY_0_1.items()}
    run = client.create_flow_run_from_deployment(ids["theirs"], parameters=TINY)
    for state in (Running(), AwaitingRetry()):
        client.set_flow_run_state(run.id, state, force=True)

    today = plan_deployments(declared(tmp_path, {"name": "kept", "flow": "flows.retrain.retrain"}), tmp_path)
    removed, waits = apply_deployments(POOL, today, source="prefect.yaml").messages
    assert removed == "removed deployment prune/stale: prefect.yaml does not declare it"
    assert waits == (
        f"deployment ingest/theirs is no longer declared; kept, without a schedule, until its runs end: {run.name}"
    )
    there = names(client)
    assert there.keys() == {"theirs", "kept"} and there["kept"].tags == [MARK]
    assert there["theirs"].entrypoint == "flows.stages.ingest" and there["theirs"].schedules == []

    assert execute(run, prefect_server, tmp_path).state_name == "Completed"
    [removed] = apply_deployments(POOL, today, source="prefect.yaml").messages
    assert removed.startswith("removed deployment ingest/theirs")
    assert names(client).keys() == {"kept"}
    assert client.read_flow_run(run.id).state_name == "Completed", "the record of the run stays"
    assert apply_deployments(POOL, today, source="prefect.yaml").messages == [], "applied twice, nothing changes"


def execute(run: FlowRun, prefect_server: str, folder: Path) -> FlowRun:
    """A run, executed as a worker does, in a process of its own."""
    environment = {**os.environ, "PREFECT_API_URL": prefect_server, "CL_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "prefect", "flow-run", "execute", str(run.id)]
    subprocess.run(command, check=True, env=environment, capture_output=True, cwd=folder, timeout=240)
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run.id)


def test_a_form_that_was_in_a_models_queue_leaves_it_when_it_is_applied_again(
    client: SyncPrefectClient, tmp_path: Path
) -> None:
    """Its runs for other models kept the runs of that model waiting."""
    declaration = declared(tmp_path, {"name": "open", "flow": "flows.retrain.retrain"})
    (before,) = plan_deployments(declaration, tmp_path)
    before.work_queue_name = "model-fashion-mnist"
    apply_deployments(POOL, [before], source="prefect.yaml")
    assert names(client)["open"].work_queue_name == "model-fashion-mnist"
    apply_deployments(POOL, plan_deployments(declaration, tmp_path), source="prefect.yaml")
    assert names(client)["open"].work_queue_name == "default"
    run = client.create_flow_run_from_deployment(names(client)["open"].id, parameters={**TINY, "model_name": "emoji"})
    assert run.work_queue_name == "default"
    assert client.read_work_queue_by_name("default", work_pool_name=POOL).concurrency_limit is None
    assert client.read_work_queue_by_name("model-fashion-mnist", work_pool_name=POOL).concurrency_limit == 1
    client.delete_flow_run(run.id)
    apply_deployments(POOL, [], source="prefect.yaml")
