"""Progress on the terminal: a bar where a person watches, nothing where a log is written."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cl_core.training.progress import Progress as TrainingProgress
from tasks.runtime.settings import Settings


def echo(step: str, message: str) -> None:
    """Print a line about a step. A Prefect worker's runs print nothing: their log has it already."""
    if not Settings.from_environment().worker_flow_run_id:
        Console(stderr=True).print(f"[bold]{step:>14}[/]  {message}", highlight=False, soft_wrap=True)


@contextmanager
def counting(what: str, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a running count; yield a function of the count so far."""
    columns = (TextColumn(f"{what:>14}"), TextColumn("{task.completed:,.0f} " + unit), TimeElapsedColumn())
    with _bar(*columns) as bar:
        task = bar.add_task(what, total=None)
        yield lambda count: bar.update(task, completed=count)


@contextmanager
def bar_over(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar over a known number of inputs; yield a function of the inputs done and the inputs in all."""
    columns = (TextColumn(f"{what:>14}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _bar(*columns) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, inputs: bar.update(task, total=inputs, completed=done)


@contextmanager
def training_bar() -> Iterator[Callable[[TrainingProgress], None]]:
    """Show a bar over a training's steps; yield a function of each progress report."""
    columns = (
        TextColumn(f"{'pretrain':>14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    with _bar(*columns) as bar:
        task = bar.add_task("starting", total=None)

        def show(progress: TrainingProgress) -> None:
            figures = f"epoch {progress.epoch:.2f}, {progress.headline}, {progress.images_per_s:,.0f} images/s"
            bar.update(task, total=progress.steps, completed=progress.step, description=figures)

        yield show


def _bar(*columns: TextColumn | BarColumn | MofNCompleteColumn | TimeElapsedColumn | TimeRemainingColumn) -> Progress:
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
