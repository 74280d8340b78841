"""Show the result of a command: as tables and lines for a person, or as one JSON document. Both go to stdout.

Only the module that a result comes from knows its type without importing more, so renderers are found by the type's
name; tests/flows/test_render.py holds them against the annotations of all commands.
"""

import resource
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.runtime.settings import Settings

if TYPE_CHECKING:  # They bring Prefect, numpy or torch.
    from cl_core.data.validation import ValidationReport
    from cl_core.refs import (
        CheckpointRef,
        Decision,
        EmbeddingsRef,
        EvaluationReport,
        ModelRef,
        ReportRef,
        RetrainResult,
        SnapshotRef,
    )
    from flows.cli.explain import Explanation, Lineage
    from flows.cli.inference import SearchHits
    from flows.cli.models import ModelVersions
    from flows.cli.operations import DoctorReport, Problem, Stopped
    from flows.compare import Comparison
    from tasks.pruning import PruneResult

# The names that the run logs of 0.1.0 and of today give to a step whose result was up to date.
_SKIPPED = ("cached", "stood")


def render(result: Any, *, seconds: float) -> int:
    """Print a result for a person.

    Args:
        result: What a command returned.
        seconds: Wall time of the command, without the start of the process.

    Returns:
        The exit code: 1 when the result is that something is wrong.
    """
    if type(result).__name__ == "RetrainResult":
        _show_retraining(result, seconds)
    else:
        RENDERERS[type(result).__name__](result)
    return _exit_code(result)


def render_json(result: Any) -> int:
    """Print a result as one JSON document; return the exit code."""
    sys.stdout.write(to_json(result, indent=2, inf_nan_mode="null").decode() + "\n")
    return _exit_code(result)


def _exit_code(result: Any) -> int:
    return 1 if getattr(result, "problems", None) else 0


def _show_retraining(result: "RetrainResult", seconds: float) -> None:
    """Print the scores, the registered model, the gate's decision, the report, and how to fetch the model."""
    import psutil

    from cl_core.report.summary import fetch_lines
    from tasks.adapters.mlflow.connection import redacted_uri

    console = _console()
    _show_scores(result.evaluation)
    console.print(f"\nModel    {result.model.uri}")
    console.print(f"Gate     {result.decision.reason}")
    console.print(f"Report   {result.report.path}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    total = time.time() - psutil.Process().create_time()
    console.print(f"Took     {seconds:.0f} s in the flow, {total:.0f} s in all; peak memory {peak:.1f} GiB")
    champion = f"models:/{result.model.name}@champion" if result.decision.champion else result.model.uri
    console.print(f"\nFetch it (with MLFLOW_TRACKING_URI={redacted_uri(Settings.from_environment().tracking_uri)}):\n")
    for line in fetch_lines(champion):
        console.print(f"    {line}")


def _show_path(result: "SnapshotRef | CheckpointRef | EmbeddingsRef | ReportRef") -> None:
    """Print where the result is: a file or folder."""
    print(result.path)


def _show_model(model: "ModelRef") -> None:
    """Print the address of a registered version."""
    print(model.uri)


def _show_decision(decision: "Decision") -> None:
    """Print a decision about the champion."""
    _console().print(decision.reason)


def _show_comparison(comparison: "Comparison") -> None:
    """Print the scores of several recipes, in Markdown."""
    from cl_core.report.comparison import comparison_markdown

    print(comparison_markdown(comparison.results), end="")


def _show_scores(report: "EvaluationReport") -> None:
    """Print a table of scores, the trained encoder beside its baselines."""
    from cl_core.report.summary import score_rows

    rows = score_rows(report)
    table = Table(title="Scores on the test split, with 95 % intervals", title_justify="left")
    for position, column in enumerate(rows[0]):
        table.add_column(column, justify="left" if position == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    _console().print(table)
    for protocol in report.left_out:
        _console().print(f"left out: {protocol}")


def _show_validation(report: "ValidationReport") -> None:
    """Print a table of the numbers on which data was accepted."""
    near = report.near_duplicates
    at_least = "" if near.complete else "at least "
    table = Table(title="Data accepted for training", title_justify="left", show_header=False)
    for what, value in {
        "training samples": f"{report.train_samples:,}",
        "test samples": f"{report.test_samples:,}",
        "classes": f"{report.classes:,}",
        "training samples of the rarest class": f"{report.smallest_class:,}",
        "unlabelled samples": f"{report.unlabelled:,}",
        "quarantined inputs": f"{report.quarantined:,} ({report.quarantined_share:.1%})",
        "duplicates merged": f"{report.duplicates:,}",
        "test images with a near-duplicate in training": f"{at_least}{near.test_images:,} ({near.test_share:.1%})",
        f"near-duplicate pairs (at most {near.max_distance} of 64 bits differ)": f"{at_least}{near.pairs:,}",
        "single-color images, not compared": f"{near.plain_images:,}",
        "closest pairs, by id (training, test)": "\n".join(f"{a[:12]} {b[:12]}" for a, b in near.examples) or "none",
    }.items():
        table.add_row(what, value)
    _console().print(table)


def _show_models(result: "ModelVersions") -> None:
    """Print a table of each model's versions, newest first."""
    if not result.models:
        print("No model is registered yet; `cl retrain` registers one.")
    for name, versions in result.models.items():
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


def _show_hits(result: "SearchHits") -> None:
    """Print a table of what a search found, nearest first, and the page that shows it."""
    table = Table()
    for column, justify in {"": "right", "cosine": "right", "label": "left", "split": "left", "origin": "left"}.items():
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for hit in result.hits:
        table.add_row(
            str(hit.rank), f"{hit.cosine:.3f}", escape(hit.label or "-"), hit.split or "-", escape(hit.origin)
        )
    _console().print(table)
    if result.missing:
        print(result.missing)
    print(result.page)


def _show_stopped(stopped: "Stopped") -> None:
    """Print what `cl down` stopped."""
    if stopped.orphans:
        print(f"Stopped {', '.join(stopped.orphans)}, left running by a killed `cl up`.")
    elif stopped.supervisor:
        print("Stopped `cl up` and its services.")
    else:
        print("Nothing to stop: no `cl up` runs for this CL_HOME.")


def _show_problems(report: "DoctorReport") -> None:
    """Print what `cl doctor` found, fixed, and left."""
    if report.fixed:
        _show_table_of_problems(report.found, title="Found")
        for problem in report.fixed:
            print(f"fixed: {problem.what} ({problem.where}): {problem.remedy}")
    if report.problems:
        _show_table_of_problems(report.problems, title="Problems")
    else:
        print("No problems found.")


def _show_table_of_problems(problems: "list[Problem]", *, title: str) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("problem", "where", "remedy"):
        table.add_column(column, overflow="fold")
    for problem in problems:
        command = "`cl doctor --fix` " if problem.fixable else ""
        table.add_row(escape(problem.what), escape(problem.where), f"{command}{escape(problem.remedy)}")
    _console().print(table)


def _show_pruned(pruned: "PruneResult") -> None:
    """Print what is removed, with sizes and reasons; which versions lose what; and the sum."""
    from tasks.pruning import prune_rows

    if rows := prune_rows(pruned):
        table = Table(title="To be removed" if pruned.dry_run else "Removed", title_justify="left")
        for column in rows[0]:
            table.add_column(column, overflow="fold", justify="right" if column == "size" else "left")
        for row in rows:
            table.add_row(*row.values())
        _console().print(table)
    for loss in pruned.retention.broken:
        _console().print(loss.sentence)
    for item in pruned.kept_after_all:
        _console().print(f"kept, because it is now in use: {item.path}")
    _console().print(pruned.note)


def _show_explanation(explanation: "Explanation") -> None:
    """Print why each step of a run ran, and the lineage of versions."""
    from cl_core.report.wording import format_duration

    console = _plain_console()
    if (run := explanation.run) is not None:
        state = run.state or "not ended: it is running, or its process was killed"
        began = datetime.fromtimestamp(run.began, UTC)
        console.print(f"Run {run.name} ({run.id}) of {run.flow}, started {began:%Y-%m-%d %H:%M:%S} UTC: {state}")
        if run.message:
            console.print(run.message)
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("step", "outcome", "took", "reason"):
            table.add_column(column, overflow="fold", no_wrap=column != "reason")
        for row in explanation.steps:
            outcome = "skipped" if row.step.outcome in _SKIPPED else row.step.outcome
            table.add_row(row.step.step, outcome, format_duration(row.step.seconds), row.reason)
        console.print(table)
        console.print(f"Cost: {explanation.cost}")
    for lineage in explanation.versions:
        _show_lineage(lineage)
    for uri, reason in explanation.unknown.items():
        print(f"\nThe lineage of {uri} cannot be read: {reason}")


def _show_lineage(lineage: "Lineage") -> None:
    console = _plain_console()
    console.print(f"\n{lineage.title}")
    for title, entries in {
        "Made from": lineage.made_from,
        "Champion history": lineage.champion,
        "Derived or related": lineage.derived,
    }.items():
        console.print(f"\n{title}")
        width = max(len(entry.what) for entry in entries)
        for entry in entries:
            detail = f"  {entry.detail}" if entry.detail else ""
            console.print(f"  {entry.what:<{width}}  {entry.which}{detail}")


RENDERERS: Mapping[str, Callable[[Any], None]] = {
    "SnapshotRef": _show_path,
    "ValidationReport": _show_validation,
    "CheckpointRef": _show_path,
    "EvaluationReport": _show_scores,
    "ModelRef": _show_model,
    "ReportRef": _show_path,
    "EmbeddingsRef": _show_path,
    "Decision": _show_decision,
    "Comparison": _show_comparison,
    "ModelVersions": _show_models,
    "SearchHits": _show_hits,
    "Explanation": _show_explanation,
    "Stopped": _show_stopped,
    "DoctorReport": _show_problems,
    "PruneResult": _show_pruned,
}
"""By the name of the result's type."""


def _console() -> Console:
    """Return standard output; wide enough for a table where it goes to a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=120, highlight=False)


def _plain_console() -> Console:
    """Return standard output without markup; where it goes to a file, no address is broken into lines."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    return console if console.is_terminal else Console(width=160, highlight=False, markup=False, soft_wrap=True)
