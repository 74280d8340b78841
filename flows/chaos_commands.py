"""The command that makes things go wrong, to see whether they mend."""

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cl_core.errors import InputError
from cl_core.failpoints import POINTS
from flows.cli.app import app, prepare


@app.command
def chaos(
    *,
    points: Annotated[str, Parameter(help="Failpoints, separated by commas; all without it.")] = "",
    kills: Annotated[int, Parameter(help="Kills at random times besides.")] = 10,
    seed: Annotated[int, Parameter(help="Decides the random times.")] = 0,
    at_once: Annotated[int, Parameter(help="Runs under way at the same time; twice the cores without it.")] = 0,
    list_: Annotated[bool, Parameter(name="--list", help="Only list the failpoints.")] = False,
) -> None:
    """Kill retrainings at every named place and at random times, let Prefect mend them, and print what came of it.

    Everything happens in a temporary home with servers of its own; CL_HOME is not touched. Exits with 1 when a run
    did not come to exactly what an undisturbed one comes to.
    """
    from chaos.cases import PLACES, cases

    if list_:
        for name, truth in POINTS.items():
            print(f"{name:36} {truth}")
        return
    chosen = _chosen(points, PLACES)
    folder, ports = Path(tempfile.mkdtemp(prefix="cl-chaos-")), _free_ports()
    # Prefect reads its settings when it is imported, and makes its folder, but not the one above it.
    (folder / "home").mkdir()
    os.environ.update(_surroundings(folder, ports))
    prepare(server=False)
    from chaos.stack import machine
    from chaos.sweep import sweep, undisturbed

    from flows.cli.render import show_matrix, show_row

    with machine(folder, ports) as at_work:
        reference = undisturbed(at_work)
        show_row(reference)
        # Between the start of its process and the end of the run lie seconds that are the machine's, not the run's.
        planned = cases(chosen, kills, seed, seconds=reference.seconds / 2)
        rows = [reference]
        for row in sweep(
            at_work, planned, weights=reference.audit.weights, at_once=at_once or 2 * (os.cpu_count() or 1)
        ):
            show_row(row)
            rows.append(row)
    show_matrix(rows)
    if any(row.problems for row in rows):
        print(f"Logs and files are kept in {folder}")
        sys.exit(1)
    shutil.rmtree(folder, ignore_errors=True)


def _chosen(points: str, places: tuple[str, ...]) -> list[str]:
    chosen = [point.strip() for point in points.split(",") if point.strip()] or list(places)
    for point in chosen:
        if point.partition(":")[0] not in POINTS:
            raise InputError(f"--points: there is no failpoint {point!r}; `cl chaos --list` shows them")
    return chosen


def _surroundings(folder: Path, ports: tuple[int, int]) -> dict[str, str]:
    """What points this process, and all that it starts, to servers and a home of their own."""
    return {
        "CL_HOME": str(folder / "home"),
        "PREFECT_HOME": str(folder / "home" / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{ports[0]}/api",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports[1]}",
        "CL_FAILPOINTS": "",
        "CL_DATABASE_URL": "",
        "TMPDIR": str(folder),
    }


def _free_ports() -> tuple[int, int]:
    """Two that nothing listens on."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
