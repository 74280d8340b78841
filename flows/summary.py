"""What a person reads on the terminal when a command has ended."""

import resource

from rich.console import Console
from rich.table import Table

from cl_core.refs import EvaluationReport, Retrained
from cl_core.report.summary import fetch_lines, score_rows
from tasks.adapters.mlflow_version import VersionRow
from tasks.settings import Settings


def show(result: Retrained, *, flow_seconds: float, total_seconds: float) -> None:
    """The registered model, its scores beside the baselines, the report, and how to fetch the model."""
    console = _console()
    show_scores(result.evaluation)
    console.print(f"\nModel    {result.model.uri}")
    console.print(f"Gate     {result.decision.reason}")
    console.print(f"Report   {result.report.path}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(
        f"Took     {flow_seconds:.0f} s in the flow, {total_seconds:.0f} s in all; peak memory {peak:.1f} GiB"
    )
    champion = f"models:/{result.model.name}@champion" if result.decision.champion else result.model.uri
    console.print(f"\nFetch it (with MLFLOW_TRACKING_URI={Settings.from_environment().tracking_uri}):\n")
    for line in fetch_lines(champion):
        console.print(f"    {line}")


def show_scores(report: EvaluationReport) -> None:
    """A table of scores, the baselines beside the trained encoder."""
    rows = score_rows(report)
    table = Table(title="Scores on the test split, with 95 % intervals", title_justify="left")
    for position, column in enumerate(rows[0]):
        table.add_column(column, justify="left" if position == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    _console().print(table)
    for sentence in report.left_out:
        _console().print(f"left out: {sentence}")


def show_versions(name: str, versions: list[VersionRow]) -> None:
    """A table of a model's versions, newest first."""
    table = Table(title=name, title_justify="left")
    for column in ("version", "aliases", "linear probe", "kNN", "registered", "last decision"):
        table.add_column(column, overflow="fold")
    for row in versions:
        probe, knn = row.scores.get("linear_probe.accuracy"), row.scores.get("knn_20.accuracy")
        table.add_row(
            str(row.version),
            ", ".join(row.aliases),
            f"{probe.value:.4f}" if probe else "-",
            f"{knn.value:.4f}" if knn else "-",
            f"{row.created:%Y-%m-%d %H:%M} UTC",
            row.reason,
        )
    _console().print(table)


def _console() -> Console:
    """Standard output; wide enough for a table where it goes to a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=120, highlight=False)
