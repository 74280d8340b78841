"""Compare several trainings in a Markdown table."""

import statistics
from collections.abc import Mapping, Sequence

from cl_core.refs import RepresentationReport, RetrainResult
from cl_core.report.wording import format_number, format_score, humanized

_UNTRAINED = "the same encoder, untrained"
# A column for each that a run has measured; the first of them decides the order.
_SCORES = {
    "linear_probe.accuracy": "linear probe",
    "knn_20.accuracy": "20 neighbors",
    "pair_retrieval.recall_at_10": "pairs, recall at 10",
    "zero_shot.accuracy": "zero-shot",
    "similarity.spearman": "similarity",
}
_FIGURES = {"geometry.uniformity": 2, "geometry.effective_rank": 0}
"""Digits by score."""


def comparison_markdown(results: Mapping[str, Sequence[RetrainResult]]) -> str:
    """Return one line per recipe, the best first, then the baselines.

    All results are on the same test split. Those of a recipe are of different seeds: of one seed a score has its 95 %
    interval, of several the mean, the standard deviation over seeds, and the least and the greatest.
    """
    measured = {name for runs in results.values() for run in runs for name in run.evaluation.trained.scores}
    scores = [name for name in _SCORES if name in measured]
    named = (_SCORES[name] for name in scores)
    head = ["recipe", *named, "uniformity", "effective rank", "training, min", "peak memory, GiB"]
    rows = []
    for recipe, runs in sorted(results.items(), key=lambda item: -_deciding(item[1], scores[:1])):
        minutes = statistics.mean(run.checkpoint.seconds for run in runs) / 60
        peak = max(run.checkpoint.peak_bytes for run in runs) / 2**30
        name = f"`{recipe}`" + (f", {len(runs)} seeds" if len(runs) > 1 else "")
        cells = _cells([run.evaluation.trained for run in runs], scores)
        rows.append([name, *cells, f"{minutes:.1f}", f"{peak:.1f}"])
    baselines = {
        (
            _UNTRAINED if name == "untrained" else humanized(name),
            *_cells([run.evaluation.representations[name] for run in runs], scores),
        )
        for runs in results.values()
        for name in runs[0].evaluation.representations
        if name != "trained"
    }
    rows += [[name, *cells, "", ""] for name, *cells in sorted(baselines)]
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _deciding(runs: Sequence[RetrainResult], names: Sequence[str]) -> float:
    scores = [run.evaluation.trained.scores.get(name) for run in runs for name in names]
    return statistics.mean(score.value if score else 0.0 for score in scores) if scores else 0.0


def _cells(reports: Sequence[RepresentationReport], scores: Sequence[str]) -> list[str]:
    cells = [_score(reports, name) for name in scores]
    for name, digits in _FIGURES.items():
        values = [report.scores[name].value for report in reports if name in report.scores]
        cells.append(f"{statistics.mean(values):.{digits}f}" if values else "")
    return cells


def _score(reports: Sequence[RepresentationReport], name: str) -> str:
    if len(reports) == 1:
        return format_score(reports[0].scores.get(name), "")
    values = [report.scores[name].value for report in reports if name in report.scores]
    if len(values) < len(reports):
        return ""
    mean, least, greatest = map(format_number, (statistics.mean(values), min(values), max(values)))
    return f"{mean} ± {statistics.stdev(values):.4f} ({least} to {greatest})"
