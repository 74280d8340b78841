"""A form without its data is refused by Prefect, before there is a run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.deployments.apply import apply_deployments, plan_deployments
from flows.deployments.schema import Declaration

POOL = "required"


@pytest.fixture
def client(prefect_server: str) -> Any:
    with temporary_settings({PREFECT_API_URL: prefect_server}), get_client(sync_client=True) as client:
        yield client


def test_a_form_without_its_data_is_refused_with_the_field_and_makes_no_run(client: Any, tmp_path: Path) -> None:
    file = tmp_path / "prefect.yaml"
    # What is JSON is YAML.
    flows = ("flows.retrain.retrain", "flows.stages.ingest", "flows.evaluate_model.evaluate_model")
    deployments = [{"name": "open", "flow": flow} for flow in flows]
    file.write_text(json.dumps({"work_pool": POOL, "deployments": deployments}))
    names = apply_deployments(POOL, plan_deployments(Declaration.read(file), tmp_path), source=file.name).names
    assert names == ["retrain/open", "ingest/open", "evaluate-model/open"]
    for name in names:
        deployment = client.read_deployment_by_name(name)
        for data, missing in (
            ({}, "'data' is a required property"),
            ({"data": {"source": "synthetic"}}, "field 'data'. Failure reason: 'name' is a required property"),
            ({"data": {"name": "parts"}}, "field 'data'. Failure reason: 'source' is a required property"),
        ):
            parameters = {**deployment.parameters, **data}
            with pytest.raises(PrefectHTTPStatusError, match=re.escape(missing)):
                client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    assert [run for run in client.read_flow_runs() if run.work_pool_name == POOL] == []
    apply_deployments(POOL, [], source=file.name)  # Other tests of this server count deployments.
