"""Progress on the terminal: a bar where a person watches, nothing where a log is written."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cl_core.training.progress import Progress as TrainingProgress


def echo(step: str, sentence: str) -> None:
    """A line about a step. A Prefect worker's runs keep silent: their log has it already."""
    if "PREFECT__FLOW_RUN_ID" not in os.environ:
        Console(stderr=True).print(f"[bold]{step:>14}[/]  {sentence}", highlight=False, soft_wrap=True)


@contextmanager
def counting(what: str, unit: str) -> Iterator[Callable[[int], None]]:
    """A running count; call with the number so far."""
    columns = (TextColumn(f"{what:>14}"), TextColumn("{task.completed:,.0f} " + unit), TimeElapsedColumn())
    with _bar(*columns) as bar:
        task = bar.add_task(what, total=None)
        yield lambda count: bar.update(task, completed=count)


@contextmanager
def bar_over(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar over a known number of inputs; call with the number done, and of all."""
    columns = (TextColumn(f"{what:>14}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _bar(*columns) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, inputs: bar.update(task, total=inputs, completed=done)


@contextmanager
def training_bar() -> Iterator[Callable[[TrainingProgress], None]]:
    """A bar over a training's steps; call with each progress report."""
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
