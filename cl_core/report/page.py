"""Render the report as one self-contained HTML file: no server, no script, no font, no network."""

import json
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from cl_core.report import wording
from cl_core.report.costs import lost
from cl_core.report.drawing import to_svg
from cl_core.report.embedding_map import embedding_map, map_sample, project, unit_rows
from cl_core.report.figures import (
    SHOWN_CLASSES,
    class_counts,
    confusion_figure,
    roc_figure,
    score_intervals,
    training_curve,
)
from cl_core.report.gallery import LARGEST_SIDE, gallery
from cl_core.report.markdown import template_environment
from cl_core.report.report_inputs import ReportInputs, roc_curves, score_columns
from cl_core.report.summary import fetch_lines

CURVES = {
    "loss": "Loss",
    "accuracy": "Accuracy of finding the positive",
    "knn_accuracy": "Held-out accuracy of nearest neighbors",
    "alignment": "Alignment",
    "uniformity": "Uniformity",
    "intraclass_correlation": "Intraclass correlation",
    "feature_std": "Standard deviation of a coordinate",
    "effective_rank": "Effective rank",
    "learning_rate": "Learning rate",
    "images_per_s": "Samples per second",
}
# Fields of a progress report that say when it was written.
_AXES = {"step", "steps", "epoch", "seconds", "seconds_left"}
LARGE_CURVES = ("loss", "accuracy")
SAMPLE_CLASSES = 12
SAMPLES_PER_CLASS = 12
SAMPLE_SIDE = 40  # pixels
LABEL_FREE = "The test split has no labels: there is no confusion matrix, no score per class and no map by class."


def render_report(inputs: ReportInputs) -> str:
    """Return the report as HTML, under 3 MB, the same bytes for the same inputs. The map takes some seconds."""
    trained = inputs.evaluation.trained
    columns = score_columns(inputs.evaluation, inputs.champion)
    scores = score_intervals(columns)
    roc = roc_curves(inputs.evaluation, inputs.champion_roc)
    confusion = None
    if inputs.labels is not None and trained.confusion:
        confusion = to_svg(confusion_figure(trained.confusion, inputs.classes), "Confusion matrix of the test split")
    per_class = inputs.profile.per_class if inputs.profile.classes else {}
    template = html_environment().get_template("template.html")
    return template.render(
        inputs=inputs,
        columns=columns,
        headline=[name for name in trained.scores if wording.is_share(name)][:3] or list(trained.scores)[:3],
        fetch=fetch_lines(inputs.fetch_uri, inputs.profile.modality),
        score_figure=scores and to_svg(scores, "Scores with their 95 % intervals"),
        roc_names=list(roc),
        roc=roc and to_svg(roc_figure(roc), "True accepts of pairs by false accepts"),
        meanings={k: text for k, text in wording.MEANING.items() if any(name.endswith(k) for name in trained.scores)},
        confusion=confusion,
        label_free=LABEL_FREE if inputs.labels is None else "",
        curves=_curves(inputs),
        map_svg=_map(inputs),
        map_rows=len(map_sample(len(inputs.rows))),
        unit=inputs.modality.unit,
        facts=inputs.modality.facts(inputs.profile.content),
        rows=gallery(
            lambda index: _preview(inputs, index, LARGEST_SIDE),
            inputs.embeddings,
            inputs.labels,
            inputs.predicted,
            inputs.classes,
        ),
        samples=_samples(inputs),
        counts=per_class and to_svg(class_counts(per_class), "Samples per class"),
        shown_classes=SHOWN_CLASSES,
        longest=max((step.seconds for step in inputs.timings), default=0.0),
        lost=lost(inputs.timings),
    )


def html_environment() -> Environment:
    """Return the environment of the pages: it escapes every value, and has the filters of `wording`."""
    environment = template_environment("cl_core.report")
    environment.filters["as_json"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return environment


def _curves(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Draw the curves of every training, then those of its method alone: title, svg, and whether it is large."""
    own = sorted({name for report in inputs.curves for name in report} - CURVES.keys() - _AXES)
    drawn = []
    for name, title in (CURVES | {name: wording.humanized(name).capitalize() for name in own}).items():
        large = name in LARGE_CURVES
        width, height = (450, 250) if large else (300, 160)
        if figure := training_curve(inputs.curves, name, width=width, height=height):
            svg = to_svg(figure, f"{title} over the steps of training")
            drawn.append({"title": title, "svg": svg, "large": large})
    return drawn


def _map(inputs: ReportInputs) -> Markup | str:
    shown = map_sample(len(inputs.rows))
    if not len(shown):
        return ""
    places = project(unit_rows(inputs.embeddings[shown]))
    labels = None if inputs.labels is None else inputs.labels[shown]
    return to_svg(embedding_map(places, labels, inputs.classes), "Map of the test embeddings")


def _preview(inputs: ReportInputs, index: int, side: int) -> Markup:
    row = tuple(column[0] for column in inputs.rows.take(slice(index, index + 1)))
    return inputs.modality.preview(row, side=side).html


def _samples(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Return the name and some test samples of each class; without labels, samples without a name."""
    if inputs.labels is None:
        groups = {"": np.arange(len(inputs.rows))[: SAMPLE_CLASSES * 4]}
    else:
        present = np.unique(inputs.labels[inputs.labels >= 0])[:SAMPLE_CLASSES].tolist()
        groups = {inputs.classes[label]: np.flatnonzero(inputs.labels == label) for label in present}
        groups = {name: members[:SAMPLES_PER_CLASS] for name, members in groups.items()}
    return [
        {
            "name": name,
            "previews": [_preview(inputs, index, SAMPLE_SIDE) for index in members],
        }
        for name, members in groups.items()
    ]
