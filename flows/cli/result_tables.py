"""Tables and paragraphs of results, on standard output."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.table import Table

if TYPE_CHECKING:  # They bring Prefect, numpy or torch.
    from cl_core.data.validation import ValidationReport
    from cl_core.refs import Decision, EvaluationReport
    from flows.cli.explanations import Explanation
    from flows.cli.inference import ClassifiedImages, SearchHits
    from flows.cli.models import ModelVersions
    from flows.cli.operations import DoctorReport
    from flows.compare import Comparison
    from tasks.lineage.graph import LineageReport
    from tasks.pruning import PruneResult
    from tasks.runtime.inventory import Diagnosis

_LISTED = 20


def show_scores(report: "EvaluationReport") -> None:
    """Print a table of scores, the trained encoder beside its baselines."""
    from cl_core.report.reasons import left_out_sentence
    from cl_core.report.summary import score_rows

    rows = score_rows(report)
    title = "Scores on the test split, with 95 % intervals"
    columns = list(rows[0])
    wide_console().print(text_table(columns, map(dict.values, rows), title, right=columns[1:], no_wrap=True))
    for protocol in report.left_out:
        wide_console().print(f"left out: {left_out_sentence(protocol)}")


def show_decision(decision: "Decision") -> None:
    """Print what was decided about a version, and why."""
    from cl_core.report.reasons import decision_sentence

    wide_console().print(decision_sentence(decision))


def show_validation(report: "ValidationReport") -> None:
    """Print a table of the numbers on which data was accepted."""
    from cl_core.report.wording import counts

    numbers = {
        "training samples": f"{report.train_samples:,}",
        "test samples": f"{report.test_samples:,}",
        "classes": f"{report.classes:,}",
        "training samples of the rarest class": f"{report.smallest_class:,}",
        "unlabeled samples": f"{report.unlabeled:,}",
        "quarantined inputs": f"{report.quarantined:,} ({report.quarantined_share:.1%})",
        "files passed over": counts(report.passed_over) or "none",
        "duplicates merged": f"{report.duplicates:,}",
    }
    if near := report.near_duplicates:
        at_least = "" if near.complete else "at least "
        # What 0.1.0 stored has ids alone.
        pairs = near.origins or [(train[:12], test[:12]) for train, test in near.examples]
        closest = "\n".join(f"{train} {test}" for train, test in pairs)
        alike = f"{at_least}{near.test_samples:,} ({near.test_share:.1%})"
        numbers |= {
            "test samples with a near-duplicate in training": alike,
            f"near-duplicate pairs (at most {near.max_distance} of 64 bits differ)": f"{at_least}{near.pairs:,}",
            "plain samples (images of one color), not compared": f"{near.plain_samples:,}",
            "closest pairs (training, test)": closest or "none",
        }
    wide_console().print(text_table(["", ""], numbers.items(), "Data accepted for training", show_header=False))


def show_comparison(comparison: "Comparison") -> None:
    """Print the scores of several recipes, in Markdown."""
    from cl_core.report.comparison import comparison_markdown

    print(comparison_markdown(comparison.results), end="")


def show_models(result: "ModelVersions") -> None:
    """Print a table of each model's versions, newest first."""
    if not result.models:
        print("No model is registered yet; `cl retrain` registers one.")
    for name, versions in result.models.items():
        rows = []
        for row in versions:
            probe, knn = row.scores.get("linear_probe.accuracy"), row.scores.get("knn_20.accuracy")
            scores = [f"{score.value:.4f}" if score else "-" for score in (probe, knn)]
            rows.append(
                [str(row.version), ", ".join(row.aliases), *scores, f"{row.created:%Y-%m-%d %H:%M} UTC", row.reason]
            )
        columns = ["version", "aliases", "linear probe", "kNN", "registered", "last decision"]
        wide_console().print(text_table(columns, rows, name))


def show_hits(result: "SearchHits") -> None:
    """Print a table of what a search found, nearest first, and the page that shows it."""
    rows = [[str(hit.rank), f"{hit.cosine:.3f}", hit.label or "-", hit.split or "-", hit.origin] for hit in result.hits]
    wide_console().print(text_table(["", "cosine", "label", "split", "origin"], rows, right=["", "cosine"]))
    if result.missing:
        print(result.missing)
    print(result.page)


def show_classified(result: "ClassifiedImages") -> None:
    """Print the class of the first images with its probability, the number of images of each, and the files."""
    rows = [[one.origin, one.name, f"{one.probability:.0%}"] for one in result.images[:_LISTED]]
    wide_console().print(text_table(["image", "class", "probability"], rows, right=["probability"]))
    if (more := len(result.images) - len(rows)) > 0:
        print(f"and {more:,} more")
    print(", ".join(f"{name}: {count:,}" for name, count in result.counts.items()))
    if result.rejected:
        print(f"{len(result.rejected):,} inputs could not be decoded, for example {result.rejected[0]}")
    print(result.table)
    print(result.page)


def show_problems(report: "DoctorReport") -> None:
    """Print what `cl doctor` found, fixed, and left."""
    if report.fixed:
        _show_table_of_problems(report.found, title="Found")
        for problem in report.fixed:
            print(f"fixed: {problem.what} ({problem.where}): {problem.remedy}")
    if report.problems:
        _show_table_of_problems(report.problems, title="Problems")
    else:
        print("No problems found.")


def _show_table_of_problems(problems: "list[Diagnosis]", *, title: str) -> None:
    rows = [[one.what, one.where, f"{'`cl doctor --fix` ' if one.fixable else ''}{one.remedy}"] for one in problems]
    wide_console().print(text_table(["problem", "where", "remedy"], rows, title))


def show_pruned(pruned: "PruneResult") -> None:
    """Print what is removed, with sizes and reasons; which versions lose what; and the sum."""
    from cl_core.report.reasons import broken_lineage_sentence
    from tasks.pruning import prune_rows, prune_summary

    console = wide_console()
    if rows := prune_rows(pruned):
        title = "To be removed" if pruned.dry_run else "Removed"
        console.print(text_table(rows[0], map(dict.values, rows), title, right=["size"]))
    for loss in pruned.retention.broken:
        console.print(broken_lineage_sentence(loss))
    for item in pruned.skipped_in_use:
        console.print(f"kept, because it is now in use: {item.path}")
    console.print(prune_summary(pruned))


def show_explanation(explanation: "Explanation") -> None:
    """Print why each step of a run ran, and the lineage of versions."""
    from cl_core.report.wording import format_duration

    console = plain_console()
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
            outcome = "skipped" if row.step.outcome == "cached" else row.step.outcome
            table.add_row(row.step.step, outcome, format_duration(row.step.seconds), row.reason)
        console.print(table)
        console.print(f"Cost: {explanation.cost}")
    for lineage in explanation.versions:
        _show_lineage(lineage)
    for uri, reason in explanation.unknown.items():
        print(f"\nThe lineage of {uri} cannot be read: {reason}")


def _show_lineage(lineage: "LineageReport") -> None:
    console = plain_console()
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


def text_table(
    columns: Iterable[str],
    rows: Iterable[Iterable[RenderableType]],
    title: str | None = None,
    *,
    right: Collection[str] = (),
    no_wrap: bool = False,
    **look: Any,
) -> Table:
    """Return a table of text; the columns in `right` are aligned to the right."""
    table = Table(title=title, title_justify="left", **look)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=no_wrap)
    for row in rows:
        table.add_row(*row)
    return table


def wide_console() -> Console:
    """Return standard output without markup; wide enough for a table where it goes to a file."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(width=120, highlight=False, markup=False)


def plain_console() -> Console:
    """Return standard output without markup; where it goes to a file, no address is broken into lines."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    return console if console.is_terminal else Console(width=160, highlight=False, markup=False, soft_wrap=True)
