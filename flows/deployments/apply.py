"""Apply a declaration to Prefect: work pool, queues, deployments with their forms and schedules, and automations.

Everything is named, so applying it again updates what differs; applying it twice changes nothing.
"""

from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.annotations import freeze
from pydantic import BaseModel

from cl_core.errors import InputError
from flows.deployments.automations import AUTOMATIONS_0_1, failure_automations, recovery_automations
from flows.deployments.old_names import ENTRYPOINTS_0_1, RENAMED_FLOWS
from flows.deployments.schema import Declaration, Deployment
from flows.recipes import recipe_values, validated_parameters
from tasks.runtime.console import echo
from tasks.runtime.notifications import CRASHED, FAILED
from tasks.runtime.run_log import model_of
from tasks.runtime.settings import Settings

MARK = "counterpoint"
"""Tag of every deployment that is applied here, by which it is removed when it is no longer declared."""


class Applied(NamedTuple):
    """What Prefect has after a declaration was applied.

    Args:
        names: The deployments, as `FLOW/NAME`.
        messages: A sentence for each deployment that was removed, or kept for its unfinished runs.
    """

    names: list[str]
    messages: list[str]


_PAGE = 200  # The most that Prefect returns at once.


def plan_deployments(declaration: Declaration, folder: Path) -> list[RunnerDeployment]:
    """Return the declared deployments, complete; recipes are relative to the folder. No server is needed.

    Raises:
        InputError: When a recipe or a parameter is not what its flow takes, or a schedule not what Prefect takes.
    """
    return [
        _planned(one, declaration.work_pool, folder) for every in declaration.deployments for one in every.each(folder)
    ]


def apply_deployments(work_pool: str, planned: list[RunnerDeployment], *, source: str) -> Applied:
    """Create or update what is planned, and remove deployments made by `cl up` that `source` no longer declares."""
    with get_client(sync_client=True) as client:
        _ensure_work_pool(client, work_pool)
        for queue in sorted({deployment.work_queue_name for deployment in planned if deployment.work_queue_name}):
            _ensure_queue(client, work_pool, queue)
        for deployment in planned:
            deployment.apply()
        names = [f"{deployment.flow_name}/{deployment.name}" for deployment in planned]
        messages = list(_remove_undeclared(client, names, work_pool, source))
        _ensure_automations(client)
    return Applied(names, messages)


def made_by_cl_up(deployment: DeploymentResponse, work_pool: str) -> bool:
    """Return whether `cl up` made a deployment: by its mark, or as 0.1.0 did, which left none."""
    by_0_1 = deployment.work_pool_name == work_pool and deployment.entrypoint in ENTRYPOINTS_0_1
    return MARK in deployment.tags or by_0_1


def _remove_undeclared(
    client: SyncPrefectClient, declared: Collection[str], work_pool: str, source: str
) -> Iterator[str]:
    for deployment in _deployments(client):
        name = f"{client.read_flow(deployment.flow_id).name}/{deployment.name}"
        if name in declared or not made_by_cl_up(deployment, work_pool):
            continue
        # A run that the schedule made, and that has never started, goes with its deployment.
        unfinished = [
            run
            for run in _unfinished_runs(client, deployment)
            if not (run.auto_scheduled and run.run_count == 0 and run.state_name in ("Scheduled", "Late"))
        ]
        if not unfinished:
            client.delete_deployment(deployment.id)
            yield f"removed deployment {name}: {source} does not declare it"
            continue
        # Deleted, it would leave a run that waits for its retry without an entrypoint.
        for schedule in client.read_deployment_schedules(deployment.id):
            client.delete_deployment_schedule(deployment.id, schedule.id)
        entrypoint = RENAMED_FLOWS.get(deployment.entrypoint or "", deployment.entrypoint)
        # Marked, it is removed by a later `cl up`, also if its new entrypoint is none of 0.1.0.
        tags = sorted({*deployment.tags, MARK})
        client.update_deployment(deployment.id, DeploymentUpdate(entrypoint=entrypoint, tags=tags))
        runs = ", ".join(run.name for run in unfinished)
        yield f"deployment {name} is no longer declared; kept, without a schedule, until its runs end: {runs}"


def _deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    deployments: list[DeploymentResponse] = []
    while page := client.read_deployments(limit=_PAGE, offset=len(deployments)):
        deployments += page
    return deployments


def _unfinished_runs(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[FlowRun]:
    unfinished = {"state": {"type": {"not_any_": sorted(TERMINAL_STATES)}}, "deployment_id": {"any_": [deployment.id]}}
    return client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(unfinished))


def _planned(declared: Deployment, work_pool: str, folder: Path) -> RunnerDeployment:
    flow = _flow(declared.flow)
    values = recipe_values(folder / declared.recipe, field="recipe") if declared.recipe else {}
    if declared.recipe and "recipe" in flow.parameters.properties:
        values["recipe"] = Path(declared.recipe).name
    where = f"deployment {declared.name!r}"
    schedules = [schedule.for_prefect(where=where) for schedule in declared.schedules]
    preset = {**values, **declared.parameters}
    parameters = _form_values(flow, preset, where=where)
    open_fields = sorted(set(flow.parameters.required) - set(parameters))
    if declared.schedules and open_fields:
        raise InputError(
            f"{where} has a schedule, but neither its recipe nor its parameters set {', '.join(open_fields)}, which "
            "has no default; set it there, or remove the schedule"
        )
    model = _only_model(parameters, is_open="model_name" not in preset and not declared.schedules)
    if model is not None:
        # A run for another model would wait in this model's queue, and keep its runs waiting.
        parameters["model_name"] = freeze(model)
    planned = flow.to_deployment(
        declared.name,
        entrypoint_type=EntrypointType.MODULE_PATH,
        description=declared.description or None,
        parameters=parameters,
        schedules=schedules,
        tags=[*declared.tags, MARK],
        work_pool_name=work_pool,
        work_queue_name=None if model is None else f"model-{model}",
    )
    assert isinstance(planned, RunnerDeployment)
    return planned


def _only_model(parameters: dict[str, Any], *, is_open: bool) -> str | None:
    """Return the one model of a form, in whose queue its runs wait for each other; None for the default queue.

    Prefect takes a run's queue from its deployment, whatever the form says. So a form is either open to any model, and
    its runs wait at the lock of their model, or it has the queue of its one model.
    """
    if is_open or not {"model_name", "training"} <= parameters.keys():
        return None
    model: str = model_of(parameters)
    return model


def _form_values(flow: "Flow[..., Any]", values: dict[str, Any], *, where: str) -> dict[str, Any]:
    """Return what a run form shows first: the given values, and the defaults of the rest, those inside groups too.

    A parameter without a default that is not given stays empty, for the person to fill in.

    Raises:
        InputError: When the flow does not take the values.
    """
    defaults = {name: schema["default"] for name, schema in flow.parameters.properties.items() if "default" in schema}
    parameters = validated_parameters(flow, {**defaults, **values}, where=where, partial=True)
    return {
        # What is left open stays an empty box: as an initial value Prefect refuses null.
        name: value.model_dump(mode="json", exclude_none=True) if isinstance(value, BaseModel) else value
        for name, value in parameters.items()
    }


def _flow(path: str) -> "Flow[..., Any]":
    if path in RENAMED_FLOWS:
        # Of this flow the name has changed, too, so that the old one has a flow of its own.
        new = "flows.evaluate_model.evaluate_model" if path.endswith(".measure") else RENAMED_FLOWS[path]
        echo("deployments", f"warning: flow {path} is renamed to {new}; the old name goes with the next release")
        path = RENAMED_FLOWS[path]
    module, _, name = path.rpartition(".")
    try:
        flow = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"deployments: there is no flow {path!r} ({error}); name one such as flows.retrain.retrain"
        ) from error
    if not isinstance(flow, Flow):
        raise InputError(
            f"deployments: {path!r} is a {type(flow).__name__}, not a flow; name one such as flows.retrain.retrain"
        )
    return flow


def _ensure_work_pool(client: SyncPrefectClient, name: str) -> None:
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    except ObjectAlreadyExists:
        pool = client.read_work_pool(name)
        if pool.type != "process":
            raise InputError(
                f"deployments: work pool {name!r} exists and is of type {pool.type!r}, not 'process'; choose another"
            ) from None


def _ensure_queue(client: SyncPrefectClient, work_pool: str, name: str) -> None:
    try:
        queue = client.read_work_queue_by_name(name, work_pool_name=work_pool)
    except ObjectNotFound:
        queue = client.create_work_queue(name, work_pool_name=work_pool)
    if queue.concurrency_limit != 1:
        client.update_work_queue(queue.id, concurrency_limit=1)


def _ensure_automations(client: SyncPrefectClient) -> None:
    automations = [*recovery_automations(), *_failure_automations()]
    for name in {FAILED, CRASHED, *AUTOMATIONS_0_1} - {automation.name for automation in automations}:
        for old in client.read_automations_by_name(name):
            client.delete_automation(old.id)
    for automation in automations:
        existing = client.read_automations_by_name(automation.name)
        if not existing:
            client.create_automation(automation)
        elif existing[0].model_dump(exclude={"id"}) != automation.model_dump():
            client.update_automation(existing[0].id, automation)
        for duplicate in existing[1:]:
            client.delete_automation(duplicate.id)


def _failure_automations() -> list[AutomationCore]:
    """Return those that notify people of failed runs; none if CL_NOTIFY names no block, or one not yet created."""
    block = Settings.from_environment().notify
    try:
        return failure_automations(block) if block else []
    except InputError as error:
        # Its server must be up before a person can create the block there.
        echo("notify", f"no notification will be sent for failed runs: {error}, then run `cl up` again")
        return []
