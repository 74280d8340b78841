"""Summarize a report: rows for a table, three lines of Python, and a page of Markdown."""

import json
from collections.abc import Mapping, Sequence

from cl_core.modalities import ColumnKind, Modality
from cl_core.refs import EvaluationReport, Score
from cl_core.registry import MODALITIES
from cl_core.report.markdown import render_markdown
from cl_core.report.report_inputs import ReportInputs, finite_points, score_columns
from cl_core.report.wording import format_score, humanized, is_share


def score_rows(report: EvaluationReport, champion: Mapping[str, Score] | None = None) -> list[dict[str, str]]:
    """Return one row per score: name, then value and interval of the trained encoder, the baselines and the champion.

    Returns:
        Such as {"score": "knn_20.accuracy", "trained": "0.861 [0.854, 0.868]", "raw pixels": ...}; a dash where a
        score was not measured.
    """
    columns = score_columns(report, champion or {})
    return [
        {"score": name} | {humanized(column): format_score(scores.get(name), "-") for column, scores in columns.items()}
        for name in report.trained.scores
    ]


def fetch_lines(uri: str, modality: str) -> list[str]:
    """Return the lines of Python that fetch a registered model of a modality and call it; two more of two kinds."""
    of: Modality = MODALITIES.build(modality, {}, field="modality")
    lines = _fetch_lines(uri, of.served().columns)
    if len(of.programs) == 1:
        return lines
    (second,) = of.served(1).columns
    file, rows = json.dumps(f"{uri}/{second.name}.pt2"), f"{second.name}s"
    return [
        "import mlflow, torch",
        *lines[1:],
        f"of_{rows} = torch.export.load(mlflow.artifacts.download_artifacts({file})).module()",
        f"{second.name}_embeddings = of_{rows}(torch.from_numpy({rows}))  # {second.dtype} {second.layout}, as above",
    ]


def _fetch_lines(uri: str, columns: Sequence[ColumnKind]) -> list[str]:
    arrays = ", ".join(f"{column.dtype} {column.layout}" for column in columns)
    names = [f"{column.name}s" for column in columns]
    load, call = "mlflow.pyfunc.load_model", f"model.predict({names[0]})"
    if len(names) > 1:  # MLflow's pyfunc takes one array.
        load, call = "mlflow.pytorch.load_model", f"model({', '.join(f'torch.from_numpy({name})' for name in names)})"
    return [
        "import mlflow" if len(names) == 1 else "import mlflow, torch",
        f"model = {load}({json.dumps(uri)})",
        f"embeddings = {call}  # {arrays} -> float32 (N, D), unit rows",
    ]


def summary_markdown(inputs: ReportInputs) -> str:
    """Return the report on one screen: decision, main scores beside the baselines, course of the loss, and places."""
    rows = score_rows(inputs.evaluation, inputs.champion)
    return render_markdown(
        "summary.md.j2",
        inputs=inputs,
        rows=[row for row in rows if is_share(row["score"])] or rows,
        losses=finite_points(inputs.curves, "loss")[:, 1].tolist(),
        fetch=fetch_lines(inputs.fetch_uri, inputs.profile.modality),
        places={"Model": inputs.uri, "Training": inputs.evaluation.training_digest, **inputs.links},
    )
