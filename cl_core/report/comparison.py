"""Compare several trainings in a Markdown table."""

from collections.abc import Mapping

from cl_core.refs import RepresentationReport, RetrainResult
from cl_core.report.wording import format_score, humanized

_UNTRAINED = "the same encoder, untrained"
_SCORES = {"linear_probe.accuracy": "linear probe", "knn_20.accuracy": "20 neighbors"}


def comparison_markdown(results: Mapping[str, RetrainResult]) -> str:
    """Return one line per recipe, the best linear probe first, then the baselines.

    All results are on the same test split.
    """
    head = ["recipe", *_SCORES.values(), "uniformity", "effective rank", "training, min", "peak memory, GiB"]
    rows = []
    for recipe, result in sorted(results.items(), key=lambda item: -_deciding(item[1])):
        trained = result.checkpoint
        minutes, peak = f"{trained.seconds / 60:.1f}", f"{trained.peak_bytes / 2**30:.1f}"
        rows.append([f"`{recipe}`", *_cells(result.evaluation.trained), minutes, peak])
    baselines = {
        (_UNTRAINED if name == "untrained" else humanized(name), *_cells(measured))
        for result in results.values()
        for name, measured in result.evaluation.representations.items()
        if name != "trained"
    }
    rows += [[name, *cells, "", ""] for name, *cells in sorted(baselines)]
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _deciding(result: RetrainResult) -> float:
    score = result.evaluation.trained.scores.get("linear_probe.accuracy")
    return score.value if score else 0.0


def _cells(report: RepresentationReport) -> list[str]:
    cells = [format_score(report.scores.get(name), "") for name in _SCORES]
    for name, digits in (("geometry.uniformity", 2), ("geometry.effective_rank", 0)):
        score = report.scores.get(name)
        cells.append(f"{score.value:.{digits}f}" if score else "")
    return cells
