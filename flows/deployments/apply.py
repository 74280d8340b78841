"""What is registered with Prefect: work pool, queues, deployments with their forms and schedules, and automations.

Everything is named, and registering it again changes what differs and doubles nothing.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments.runner import RunnerDeployment
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.types.entrypoint import EntrypointType
from pydantic import BaseModel

from cl_core.errors import InputError
from flows.cli.recipes import validated, values_of
from flows.deployments.automations import automations, failure_automations
from flows.deployments.schema import Declaration, Deployment
from tasks.runtime.console import echo
from tasks.runtime.notifications import CRASHED, FAILED
from tasks.runtime.settings import Settings


def plan(declaration: Declaration, folder: Path) -> list[RunnerDeployment]:
    """What is declared, complete; needs no server.

    Args:
        declaration: What is wanted.
        folder: That its recipes are relative to.

    Raises:
        InputError: When a recipe or a parameter is not what its flow takes.
    """
    return [
        _plan(one, declaration.work_pool, folder) for every in declaration.deployments for one in every.each(folder)
    ]


def register(work_pool: str, planned: list[RunnerDeployment]) -> list[str]:
    """Bring Prefect to what is planned.

    Returns:
        The deployments' names, as `FLOW/NAME`.
    """
    with get_client(sync_client=True) as client:
        _ensure_work_pool(client, work_pool)
        for queue in sorted({one.work_queue_name for one in planned if one.work_queue_name}):
            _ensure_queue(client, work_pool, queue)
        for one in planned:
            one.apply()
        _ensure_automations(client)
    return [f"{one.flow_name}/{one.name}" for one in planned]


def _plan(declared: Deployment, work_pool: str, folder: Path) -> RunnerDeployment:
    flow = _flow(declared.flow)
    values = values_of(folder / declared.recipe, field="recipe") if declared.recipe else {}
    parameters = form(flow, {**values, **declared.parameters}, where=f"deployment {declared.name!r}")
    planned = flow.to_deployment(
        declared.name,
        entrypoint_type=EntrypointType.MODULE_PATH,
        description=declared.description or None,
        parameters=parameters,
        schedules=[schedule.for_prefect() for schedule in declared.schedules],
        tags=declared.tags,
        work_pool_name=work_pool,
        work_queue_name=_queue(parameters),
    )
    assert isinstance(planned, RunnerDeployment)
    return planned


def _queue(parameters: dict[str, Any]) -> str | None:
    """The work queue of a model's retraining: its runs wait in Prefect, where they are seen, for their turn."""
    return f"model-{parameters['model_name']}" if {"model_name", "training"} <= parameters.keys() else None


def form(flow: "Flow[..., Any]", values: dict[str, Any], *, where: str) -> dict[str, Any]:
    """What a run form shows first: the given values, and of the groups also the defaults of all else.

    A parameter without a default that is not given stays empty, for the person to fill in.

    Raises:
        InputError: When the flow does not take these.
    """
    defaults = {name: schema["default"] for name, schema in flow.parameters.properties.items() if "default" in schema}
    required = set(flow.parameters.required) - set(values)
    if required:
        # What is left open cannot be validated as a whole; what is given is by Prefect, when the form is sent.
        return {**defaults, **values}
    return {name: _plain(value) for name, value in validated(flow, {**defaults, **values}, where=where).items()}


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _flow(path: str) -> "Flow[..., Any]":
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"deployments: there is no flow {path!r} ({error}); name one such as flows.retrain.retrain"
        ) from error
    if not isinstance(found, Flow):
        raise InputError(f"deployments: {path!r} is no flow but a {type(found).__name__}")
    return found


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
    messages = _messages()
    for name in {FAILED, CRASHED} - {wanted.name for wanted in messages}:
        for old in client.read_automations_by_name(name):
            client.delete_automation(old.id)
    for wanted in [*automations(), *messages]:
        found = client.read_automations_by_name(wanted.name)
        if not found:
            client.create_automation(wanted)
        elif found[0].model_dump(exclude={"id"}) != wanted.model_dump():
            client.update_automation(found[0].id, wanted)
        for double in found[1:]:
            client.delete_automation(double.id)


def _messages() -> list[AutomationCore]:
    """Those that tell people of failed runs; none where CL_NOTIFY names no block, or one that has yet to be made."""
    block = Settings.from_environment().notify
    try:
        return failure_automations(block) if block else []
    except InputError as error:
        # Its server must be up before a person can make the block in it.
        echo("notify", f"nobody will be told of failed runs: {error}, then register the deployments again")
        return []
