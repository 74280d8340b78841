"""What a person sees while the services run: addresses, services, and the runs of the moment."""

import contextlib
import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tasks.server.services import LocalStack, data_roots
from tasks.server.supervisor import Supervisor

if TYPE_CHECKING:
    from tasks.server.recovery import RunRecovery

_REFRESH_S = 1.0
# Asking for runs is a request to the server, which has better things to do on a small machine.
_RUNS_EVERY_S = 5.0
_SHOWN_RUNS = 6
_COLOURS = {"RUNNING": "blue", "COMPLETED": "green", "FAILED": "red", "CRASHED": "red", "CANCELLED": "yellow"}


def watch(operation: LocalStack, supervisor: Supervisor, reviver: "RunRecovery", deployments: list[str]) -> None:
    """Show the state of the services, and mend them and their runs, until told to stop.

    On a terminal it is one screen; elsewhere a line for each thing that happens.
    """
    # Runs have the names that people give them.
    console = Console(highlight=False, markup=False)
    said: list[str] = []
    runs: list[tuple[str, str, str]] = []
    asked = 0.0
    screen = Live(console=console, auto_refresh=False) if console.is_terminal else None
    # Above the screen, which must fit into a terminal of 24 lines.
    console.print(_addresses(operation), *[f"  {name}" for name in deployments], sep="\n", soft_wrap=True)
    with screen or contextlib.nullcontext():
        while not supervisor.stopped():
            for sentence in (*supervisor.restart_exited(), *reviver.recover()):
                said.append(f"{time.strftime('%H:%M:%S')}  {sentence}")
                if screen is None:
                    console.print(said[-1], soft_wrap=True)
            if screen is not None:
                if time.monotonic() - asked > _RUNS_EVERY_S:
                    runs, asked = _latest_runs(), time.monotonic()
                latest = [Text(sentence, overflow="ellipsis", no_wrap=True) for sentence in said[-3:]]
                parts = ["", _services(supervisor), _runs(runs), *latest, "Ctrl-C ends all of it."]
                screen.update(Group(*parts), refresh=True)
            time.sleep(_REFRESH_S)


def _addresses(operation: LocalStack) -> str:
    passwords = (
        "    export PREFECT_API_AUTH_STRING=... MLFLOW_TRACKING_USERNAME=... MLFLOW_TRACKING_PASSWORD=...\n"
        if operation.requires_passwords
        else ""
    )
    return (
        f"Prefect  {operation.prefect_ui}  deployments, schedules, runs\n"
        f"MLflow   {operation.mlflow}  models, scores, reports\n"
        f"Home     {operation.settings.home}\n"
        f"Logs     {operation.settings.logs}\n"
        f"Data     {data_roots().replace(':', ', ')} may be read by runs (CL_DATA_ROOTS)\n"
        f"\nFor commands in another terminal:\n\n"
        f"    export CL_HOME={operation.settings.home} PREFECT_API_URL={operation.prefect_api} "
        f"MLFLOW_TRACKING_URI={operation.mlflow}\n{passwords}"
    )


def _services(supervisor: Supervisor) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("service", "state", "process", "restarts"):
        table.add_column(column, justify="left")
    for service in supervisor.services:
        state = Text("runs", "green") if supervisor.is_alive(service) else Text("down", "red")
        table.add_row(service.name, state, str(supervisor.pid(service)), str(supervisor.restarts[service.name]))
    return table


def _runs(runs: list[tuple[str, str, str]]) -> Table | str:
    if not runs:
        return "\nNo run yet: start one from a deployment's page.\n"
    table = Table(box=None, pad_edge=False, title="\nlatest runs", title_justify="left")
    for column in ("run", "state", "begun"):
        table.add_column(column)
    for name, state, begun in runs:
        table.add_row(name, Text(state, _COLOURS.get(state.upper(), "")), begun)
    return table


def _latest_runs() -> list[tuple[str, str, str]]:
    """Name, state and start of the runs that began last."""
    import httpx
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.settings import temporary_settings

    from tasks.server.recovery import NO_RETRIES

    begun = FlowRunFilterStateType(not_any_=[StateType.SCHEDULED])
    try:
        with temporary_settings(NO_RETRIES), get_client(sync_client=True) as client:
            found = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=begun)),
                sort=FlowRunSort.START_TIME_DESC,
                limit=_SHOWN_RUNS,
            )
    except httpx.HTTPError:
        return []
    return [
        (run.name, run.state_name or "", f"{run.start_time:%Y-%m-%d %H:%M} UTC" if run.start_time else "")
        for run in found
    ]
