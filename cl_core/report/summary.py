"""The essence of a report: rows for a table, three lines of Python, and a page of markdown."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from cl_core.refs import EvaluationReport, Score
from cl_core.report.figures import downsample, finite_points
from cl_core.report.markdown import escaped, linked, table
from cl_core.report.report_inputs import ReportInputs, score_columns
from cl_core.report.wording import format_gain, format_interval, format_number, humanized, is_share

_BARS = "▁▂▃▄▅▆▇█"
_NONE: Mapping[str, Score] = MappingProxyType({})


def score_rows(report: EvaluationReport, champion: Mapping[str, Score] = _NONE) -> list[dict[str, str]]:
    """One row per score: its name, then value and interval of the trained encoder, the baselines and the champion.

    Returns:
        Such as {"score": "knn_20.accuracy", "trained": "0.861 [0.854, 0.868]", "raw pixels": ...}; a dash where a
        score was not measured.
    """
    columns = score_columns(report, champion)
    return [
        {"score": name}
        | {
            humanized(column): f"{format_number(scores[name].value)} {format_interval(scores[name])}"
            if name in scores
            else "-"
            for column, scores in columns.items()
        }
        for name in report.trained.scores
    ]


def fetch_lines(uri: str) -> list[str]:
    """The three lines of Python that fetch a registered model and call it."""
    return [
        "import mlflow",
        f"model = mlflow.pyfunc.load_model({json.dumps(uri)})",
        "embeddings = model.predict(images)  # uint8 (N, H, W, C) -> float32 (N, D), unit rows",
    ]


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """A curve in one line of text, from its least (▁) to its greatest value (█)."""
    points = np.column_stack([np.arange(len(values)), values]) if len(values) else np.empty((0, 2))
    heights = downsample(points, width)[:, 1]
    if not len(heights):
        return ""
    span = np.ptp(heights)
    levels = (heights - heights.min()) / span * (len(_BARS) - 1) if span > 0 else np.zeros(len(heights))
    return "".join(_BARS[round(level)] for level in levels)


def summary_markdown(inputs: ReportInputs) -> str:
    """The report on one screen: verdict, main scores beside the baselines, course of the loss, where things are."""
    parts = [f"# {escaped(inputs.title)}", _verdict(inputs)]
    rows = score_rows(inputs.evaluation, inputs.champion)
    main = [row for row in rows if is_share(row["score"])] or rows
    if main:
        parts.append(table(main))
    parts += [f"_{escaped(sentence)}_" for sentence in inputs.evaluation.left_out]
    losses = finite_points(inputs.curves, "loss")[:, 1].tolist()
    if losses:
        parts.append(f"Loss {format_number(losses[0])} `{sparkline(losses)}` {format_number(losses[-1])}")
    parts.append("```python\n" + "\n".join(fetch_lines(inputs.fetch_uri)) + "\n```")
    places = {"Model": inputs.uri, "Training": inputs.evaluation.training_digest, **inputs.links}
    parts.append("\n".join(f"- {escaped(name)}: {linked(place)}" for name, place in places.items()))
    return "\n\n".join(parts) + "\n"


def _verdict(inputs: ReportInputs) -> str:
    decision = inputs.decision
    if decision is None:
        return f"**{escaped(inputs.model_name)} version {inputs.version}.** It has not been decided on."
    word = "is the champion" if inputs.is_champion else "is not the champion"
    measured = f" Gain over the champion: {format_gain(decision.gain)}." if decision.gain else ""
    return f"**{escaped(inputs.model_name)} version {inputs.version} {word}.** {escaped(decision.reason)}{measured}"
