"""`make chaos`: kill deployed retrainings at every failpoint, let Prefect reschedule them, and audit each result.

Everything happens in a temporary home with servers of its own; CL_HOME is not touched. Ends with 1 when a run does not
end with exactly the result of an uninterrupted one.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from servers import free_port

from chaos.cases import PLACES, cases
from chaos.failpoints import POINTS
from cl_core import processes

if TYPE_CHECKING:
    from chaos.sweep import Row

SITE = Path(__file__).with_name("site")


def main() -> None:
    options = _options()
    if options.list:
        for name, truth in POINTS.items():
            print(f"{name:36} {truth}")
        return
    places = _places(options.points)
    folder, ports = Path(tempfile.mkdtemp(prefix="cl-chaos-")), (free_port(), free_port())
    # Prefect reads its settings when it is imported, and creates its folder, but not the one above it.
    (folder / "home").mkdir()
    os.environ.update(_environment(folder, ports))
    from chaos.stack import stack
    from chaos.sweep import sweep, uninterrupted

    console = Console(highlight=False, markup=False, soft_wrap=True)
    with stack(folder, ports) as at_work:
        reference = uninterrupted(at_work)
        console.print(_line(reference))
        # Starting and ending the process takes the other half, and is the machine's work rather than the run's.
        planned = cases(places, options.kills, options.seed, seconds=reference.seconds / 2)
        rows = [reference]
        at_once = options.at_once or 2 * processes.cpu_count()
        for row in sweep(at_work, planned, weights=reference.audit.weights, at_once=at_once):
            console.print(_line(row))
            rows.append(row)
    console.print(_table(rows))
    passed = sum(not row.problems for row in rows)
    console.print(f"{passed} of {len(rows)} runs ended with the same result as an uninterrupted run.")
    if passed < len(rows):
        console.print(f"Logs and files are kept in {folder}")
        sys.exit(1)
    shutil.rmtree(folder, ignore_errors=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--points", default="", help="failpoints, separated by commas; default: all")
    parser.add_argument("--kills", type=int, default=10, help="kills at random times besides (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="decides the random times (default: 0)")
    parser.add_argument("--at-once", type=int, default=0, help="concurrent runs; default: twice the cores")
    parser.add_argument("--list", action="store_true", help="only list the failpoints")
    return parser.parse_args()


def _places(points: str) -> list[str]:
    places = [point.strip() for point in points.split(",") if point.strip()] or list(PLACES)
    for place in places:
        if place.partition(":")[0] not in POINTS:
            print(f"error: --points: there is no failpoint {place!r}; --list shows them", file=sys.stderr)
            sys.exit(2)
    return places


def _environment(folder: Path, ports: tuple[int, int]) -> dict[str, str]:
    """Settings that point this process, and all that it starts, to servers and a home of their own."""
    paths = [str(SITE), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    return {
        "CL_HOME": str(folder / "home"),
        "PREFECT_HOME": str(folder / "home" / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{ports[0]}/api",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports[1]}",
        "CL_FAILPOINTS": "",
        "CL_DATABASE_URL": "",
        "TMPDIR": str(folder),
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _line(row: "Row") -> str:
    return f"{row.case.title:<36} {row.attempts} attempts, {row.seconds:.0f} s: {_verdict(row)}"


def _table(rows: "list[Row]") -> Table:
    table = Table(title="Runs that were killed and rescheduled", title_justify="left")
    table.add_column("killed", overflow="fold")
    for column in ("attempts", "seconds", "steps repeated"):
        table.add_column(column, justify="right")
    table.add_column("verdict", overflow="fold")
    for row in rows:
        numbers = (str(row.attempts), f"{row.seconds:.0f}", str(row.audit.repeated_steps))
        table.add_row(row.case.title, *numbers, _verdict(row))
    return table


def _verdict(row: "Row") -> str:
    return "; ".join(row.problems) or "same result"


if __name__ == "__main__":
    main()
