"""What a person reads on the terminal when a command has ended."""

import resource
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cl_core.data.validation import ValidationReport
from cl_core.refs import EvaluationReport, RetrainResult
from cl_core.report.summary import fetch_lines, score_rows
from tasks.adapters.mlflow.connection import shown
from tasks.adapters.mlflow.model_version import VersionRow
from tasks.pruning import PruneResult, prune_rows, prune_summary
from tasks.runtime.inventory import Diagnosis
from tasks.runtime.settings import Settings

if TYPE_CHECKING:  # They bring torch.
    from cl_core.embedding.search import Hit
    from cl_core.parity import Finding as ParityFinding
    from flows.chaos_sweep import Row


def show(result: RetrainResult, *, flow_seconds: float, total_seconds: float) -> None:
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
    console.print(f"\nFetch it (with MLFLOW_TRACKING_URI={shown(Settings.from_environment().tracking_uri)}):\n")
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


def show_validation(report: ValidationReport) -> None:
    """A table of the numbers on which data was accepted."""
    near = report.near_duplicates
    at_least = "" if near.complete else "at least "
    table = Table(title="Data that can be trained on", title_justify="left", show_header=False)
    for what, came in {
        "training samples": f"{report.train_samples:,}",
        "test samples": f"{report.test_samples:,}",
        "classes": f"{report.classes:,}",
        "training samples of the rarest class": f"{report.smallest_class:,}",
        "samples without a label": f"{report.unlabelled:,}",
        "inputs in quarantine": f"{report.quarantined:,} ({report.quarantined_share:.1%})",
        "copies merged": f"{report.duplicates:,}",
        "test images with a near-duplicate in training": f"{at_least}{near.test_images:,} ({near.test_share:.1%})",
        f"pairs that differ in at most {near.max_distance} of 64 bits": f"{at_least}{near.pairs:,}",
        "images of one colour, not compared": f"{near.plain_images:,}",
        "closest pairs, by id (training, test)": "\n".join(f"{a[:12]} {b[:12]}" for a, b in near.examples) or "none",
    }.items():
        table.add_row(what, came)
    _console().print(table)


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


def show_row(row: "Row") -> None:
    """A line about a run of the fault sweep, as soon as it is over."""
    _console().print(f"{row.case.title:<36} {row.attempts} attempts, {row.seconds:.0f} s: {_verdict(row)}")


def show_matrix(rows: "list[Row]") -> None:
    """What the fault sweep came to."""
    table = Table(title="Killed, and put back to work", title_justify="left")
    table.add_column("killed", overflow="fold")
    for column in ("attempts", "seconds", "steps repeated"):
        table.add_column(column, justify="right")
    table.add_column("verdict", overflow="fold")
    for row in rows:
        numbers = (str(row.attempts), f"{row.seconds:.0f}", str(row.audit.repeated_steps))
        table.add_row(row.case.title, *numbers, _verdict(row))
    _console().print(table)
    passed = sum(not row.problems for row in rows)
    _console().print(f"{passed} of {len(rows)} runs came to exactly what an undisturbed one comes to.")


def _verdict(row: "Row") -> str:
    return "; ".join(row.problems) or "as undisturbed"


def show_findings(findings: list[Diagnosis], *, title: str) -> None:
    """A table of what is wrong, where, and what helps."""
    table = Table(title=title, title_justify="left")
    for column in ("what", "where", "remedy"):
        table.add_column(column, overflow="fold")
    for found in findings:
        by_whom = "`cl doctor --mend` " if found.mend is not None else ""
        table.add_row(found.what, found.where, f"{by_whom}{found.remedy}")
    _console().print(table)


def show_hits(hits: "list[Hit]") -> None:
    """A table of what a search found, nearest first."""
    table = Table()
    for column, justify in {"": "right", "cosine": "right", "label": "left", "split": "left", "origin": "left"}.items():
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for rank, (row, cosine) in enumerate(hits, start=1):
        table.add_row(str(rank), f"{cosine:.3f}", escape(row.label or "-"), row.split or "-", escape(row.origin))
    _console().print(table)


def show_pruned(pruned: PruneResult) -> None:
    """A table of what goes, with sizes and reasons; which versions lose what; and the sum."""
    if listed := prune_rows(pruned):
        table = Table(title="Goes" if pruned.dry_run else "Gone", title_justify="left")
        for column in listed[0]:
            table.add_column(column, overflow="fold", justify="right" if column == "size" else "left")
        for row in listed:
            table.add_row(*row.values())
        _console().print(table)
    for loss in pruned.retention.broken:
        _console().print(loss.sentence)
    for item in pruned.skipped_in_use:
        _console().print(f"skipped, because it is in use now: {item.path}")
    _console().print(prune_summary(pruned))


def show_parity(findings: "list[ParityFinding]", elsewhere: Mapping[str, str]) -> None:
    """A table of what was computed twice, and, by part, why nobody else computes the rest."""
    table = Table(title="The same numbers, by this project and by others", title_justify="left")
    for column in ("part", "of", "library"):
        table.add_column(column, overflow="fold")
    for column in ("value", "theirs", "difference", "of gradients"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for found in findings:
        there = found.verdict != "not installed"
        numbers = (
            f"{found.ours:.6f}",
            f"{found.theirs:.6f}",
            f"{found.value_difference:.0e}",
            f"{found.gradient_difference:.0e}",
        )
        check = found.check
        library = f"{check.library} {found.version}" if there else check.library
        table.add_row(check.part, check.what, library, *(numbers if there else ("-",) * 4), found.verdict)
    _console().print(table)
    for part, reason in elsewhere.items():
        _console().print(f"{part}: {reason}")
    if any(found.verdict == "not installed" for found in findings):
        _console().print("What is not installed comes with: pip install 'counterpoint[parity]'")


def _console() -> Console:
    """Standard output; wide enough for a table where it goes to a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=120, highlight=False)
