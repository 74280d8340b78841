"""The screen of `cl up`: addresses, the state of the services, and the latest runs."""

import contextlib
import shlex
import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flows.cli.result_tables import text_table
from tasks.server.services import LocalStack
from tasks.server.supervisor import Supervisor

if TYPE_CHECKING:
    from tasks.server.recovery import RunRecovery

_REFRESH_S = 1.0
# Each look at the runs is a request to the server; a small machine needs its cores for training.
_RUNS_EVERY_S = 5.0
_SHOWN_RUNS = 6
_COLORS = {"RUNNING": "blue", "COMPLETED": "green", "FAILED": "red", "CRASHED": "red", "CANCELLED": "yellow"}


def watch(stack: LocalStack, supervisor: Supervisor, recovery: "RunRecovery", deployments: list[str]) -> None:
    """Show the state of the services, restart them and recover their runs, until a stop is requested.

    On a terminal it is one screen; elsewhere one line per event.
    """
    # People name runs: nothing in a name is markup.
    console = Console(stderr=True, highlight=False, markup=False)
    events: list[str] = []
    runs: list[tuple[str, str, str]] = []
    read_at = 0.0
    screen = Live(console=console, auto_refresh=False) if console.is_terminal else None
    # Above the screen, which must fit into a terminal of 24 lines.
    console.print(_addresses(stack), *[f"  {name}" for name in deployments], sep="\n", soft_wrap=True)
    with screen or contextlib.nullcontext():
        while not supervisor.stopped():
            for event in (*supervisor.restart_exited(), *recovery.recover()):
                events.append(f"{time.strftime('%H:%M:%S')}  {event}")
                if screen is None:
                    console.print(events[-1], soft_wrap=True)
            if screen is not None:
                if time.monotonic() - read_at > _RUNS_EVERY_S:
                    runs, read_at = _latest_runs(), time.monotonic()
                latest = [Text(event, overflow="ellipsis", no_wrap=True) for event in events[-3:]]
                parts = ["", _services(supervisor), _runs(runs), *latest, "Ctrl-C stops everything."]
                screen.update(Group(*parts), refresh=True)
            time.sleep(_REFRESH_S)


def _addresses(stack: LocalStack) -> str:
    passwords = (
        "    export PREFECT_API_AUTH_STRING=... MLFLOW_TRACKING_USERNAME=... MLFLOW_TRACKING_PASSWORD=...\n"
        if stack.requires_passwords
        else ""
    )
    return (
        f"Prefect  {stack.prefect_ui}  deployments, schedules, runs\n"
        f"MLflow   {stack.mlflow}  models, scores, reports\n"
        f"Home     {stack.settings.home}\n"
        f"Logs     {stack.settings.logs}\n"
        f"Data     {stack.data_roots.replace(':', ', ')} "
        "(CL_DATA_ROOTS; runs read and write only there and in the home)\n"
        "\nFor `mlflow` and `prefect` in another terminal; `cl` finds the servers of its CL_HOME:\n\n"
        f"    export CL_HOME={shlex.quote(str(stack.settings.home))} PREFECT_API_URL={stack.prefect_api} "
        f"MLFLOW_TRACKING_URI={stack.mlflow}\n{passwords}"
    )


def _services(supervisor: Supervisor) -> Table:
    rows = [
        (
            service.name,
            Text("running", "green") if supervisor.is_alive(service) else Text("down", "red"),
            str(supervisor.pid(service)),
            str(supervisor.restarts[service.name]),
        )
        for service in supervisor.services
    ]
    return text_table(("service", "state", "PID", "restarts"), rows, box=None, pad_edge=False)


def _runs(runs: list[tuple[str, str, str]]) -> Table | str:
    if not runs:
        return "\nNo runs yet: start one from a deployment's page in the Prefect UI.\n"
    rows = [(name, Text(state, _COLORS.get(state.upper(), "")), started) for name, state, started in runs]
    return text_table(("run", "state", "started"), rows, "\nLatest runs", box=None, pad_edge=False)


def _latest_runs() -> list[tuple[str, str, str]]:
    """Return name, state and start time of the latest runs."""
    import httpx
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.settings import temporary_settings

    from tasks.server.recovery import NO_RETRIES

    started = FlowRunFilter.model_validate({"state": {"type": {"not_any_": ["SCHEDULED"]}}})
    try:
        with temporary_settings(NO_RETRIES), get_client(sync_client=True) as client:
            flow_runs = client.read_flow_runs(
                flow_run_filter=started, sort=FlowRunSort.START_TIME_DESC, limit=_SHOWN_RUNS
            )
    except httpx.HTTPError:
        return []
    return [
        (run.name, run.state_name or "", f"{run.start_time:%Y-%m-%d %H:%M} UTC" if run.start_time else "")
        for run in flow_runs
    ]
