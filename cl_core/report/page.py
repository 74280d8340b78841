"""The report as one HTML file that needs nothing but itself: no server, no script, no font, no network."""

import json
from dataclasses import dataclass

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cl_core.report import wording
from cl_core.report.costs import lost
from cl_core.report.drawing import to_svg
from cl_core.report.embedding_map import embedding_map, map_sample, project, unit_rows
from cl_core.report.figures import SHOWN_CLASSES, class_counts, confusion_figure, score_intervals, training_curve
from cl_core.report.gallery import gallery, png_uri
from cl_core.report.report_inputs import ReportInputs, score_columns
from cl_core.report.summary import fetch_lines

CURVES = {
    "loss": "Loss",
    "accuracy": "Accuracy of finding the positive",
    "knn_accuracy": "Held-out accuracy of nearest neighbours",
    "alignment": "Alignment",
    "uniformity": "Uniformity",
    "intraclass_correlation": "Intraclass correlation",
    "feature_std": "Standard deviation of a coordinate",
    "effective_rank": "Effective rank",
    "learning_rate": "Learning rate",
    "images_per_s": "Images per second",
}
# Of a report of the trainer: when it was made.
_AXES = {"step", "steps", "epoch", "seconds", "seconds_left"}
LARGE_CURVES = ("loss", "accuracy")
SAMPLE_CLASSES = 12
SAMPLES_PER_CLASS = 12
SAMPLE_SIDE = 40  # pixels
LABEL_FREE = "The data has no labels: there is no confusion matrix, no score per class and no map by class."


@dataclass(frozen=True)
class Curve:
    """A figure of the training section."""

    title: str
    svg: Markup
    large: bool


@dataclass(frozen=True)
class SampleRow:
    """Test images of one class; of none without labels."""

    name: str
    uris: list[str]


def render_report(inputs: ReportInputs) -> str:
    """The report as HTML, under 3 MB, the same bytes for the same inputs. Takes some seconds, most of them the map."""
    trained = inputs.evaluation.trained
    columns = score_columns(inputs.evaluation, inputs.champion)
    scores = score_intervals(columns)
    confusion = None
    if inputs.labels is not None and trained.confusion:
        confusion = to_svg(confusion_figure(trained.confusion, inputs.classes), "Confusion matrix of the test split")
    per_class = inputs.profile.per_class if inputs.profile.classes else {}
    template = html_environment().get_template("template.html")
    return template.render(
        inputs=inputs,
        columns=columns,
        headline=[name for name in trained.scores if wording.is_share(name)][:3] or list(trained.scores)[:3],
        fetch=fetch_lines(inputs.fetch_uri),
        score_figure=scores and to_svg(scores, "Scores with their 95 % intervals"),
        meanings=wording.meanings(trained.scores),
        confusion=confusion,
        label_free=LABEL_FREE if inputs.labels is None else "",
        curves=_curves(inputs),
        map_svg=_map(inputs),
        map_rows=len(map_sample(len(inputs.images))),
        rows=gallery(inputs.images, inputs.embeddings, inputs.labels, inputs.predicted, inputs.classes),
        samples=_samples(inputs),
        counts=per_class and to_svg(class_counts(per_class), "Samples per class"),
        shown_classes=SHOWN_CLASSES,
        longest=max((step.seconds for step in inputs.timings), default=0.0),
        lost=lost(inputs.timings),
        smooth=max(inputs.images.shape[1:3]) > SAMPLE_SIDE,
    )


def html_environment() -> Environment:
    """Templates that escape what they are given, with the words and numbers of all pages."""
    html_environment = Environment(
        loader=PackageLoader("cl_core.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    written = (
        wording.format_number,
        wording.format_interval,
        wording.format_gain,
        wording.format_duration,
        wording.humanized,
    )
    html_environment.filters |= {form.__name__: form for form in written}
    html_environment.filters["as_json"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return html_environment


def _curves(inputs: ReportInputs) -> list[Curve]:
    """Those of every training, then what only its method knows."""
    own = sorted({name for report in inputs.curves for name in report} - CURVES.keys() - _AXES)
    drawn = []
    for name, title in (CURVES | {name: wording.humanized(name).capitalize() for name in own}).items():
        width, height = (450, 250) if name in LARGE_CURVES else (300, 160)
        figure = training_curve(inputs.curves, name, width=width, height=height)
        if figure is not None:
            drawn.append(Curve(title, to_svg(figure, f"{title} over the steps of training"), name in LARGE_CURVES))
    return drawn


def _map(inputs: ReportInputs) -> Markup | str:
    shown = map_sample(len(inputs.images))
    if not len(shown):
        return ""
    places = project(unit_rows(inputs.embeddings[shown]))
    labels = None if inputs.labels is None else inputs.labels[shown]
    return to_svg(embedding_map(places, labels, inputs.classes), "Map of the test embeddings")


def _samples(inputs: ReportInputs) -> list[SampleRow]:
    if inputs.labels is None:
        groups = {"": np.arange(len(inputs.images))[: SAMPLE_CLASSES * 4]}
    else:
        present = np.unique(inputs.labels[inputs.labels >= 0])[:SAMPLE_CLASSES].tolist()
        groups = {inputs.classes[label]: np.flatnonzero(inputs.labels == label) for label in present}
        groups = {name: members[:SAMPLES_PER_CLASS] for name, members in groups.items()}
    return [
        SampleRow(name, [png_uri(inputs.images[index], SAMPLE_SIDE) for index in members])
        for name, members in groups.items()
    ]
