"""Progress on the terminal: a bar where a person watches, nothing where a log is written."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress
from rich.console import Console
from rich.text import Text

from tasks.runtime.settings import Settings


def echo(step: str, message: str) -> None:
    """Print a line about a step. A Prefect worker's runs print nothing: their log has it already."""
    if not Settings.from_environment().worker_flow_run_id:
        # Nothing in a message is markup: it may hold paths, reasons and names that people chose.
        line = Text.assemble((f"{step:>14}", "bold"), f"  {message}")
        Console(stderr=True).print(line, highlight=False, soft_wrap=True)


@contextmanager
def counting(what: str, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a running count; yield a function of the count so far."""
    with _shown(what, progress.TextColumn("{task.completed:,.0f} " + unit), progress.TimeElapsedColumn()) as update:
        yield lambda count: update(count, None, "")


@contextmanager
def bar_over(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar; yield a function of what is done, of the total, and of a text beside the bar."""
    columns = (
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.description}", markup=False),
        progress.TimeRemainingColumn(),
    )
    with _shown(what, *columns) as update:
        yield update


@contextmanager
def _shown(what: str, *columns: progress.ProgressColumn) -> Iterator[Callable[[int, int | None, str], None]]:
    console = Console(stderr=True)
    columns = (progress.TextColumn(f"{what:>14}"), *columns)
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, total, text: bar.update(task, completed=done, total=total, description=text)
