import math

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from cl_core.refs import Score
from cl_core.report.drawing import class_colors, to_svg
from cl_core.report.figures import (
    class_counts,
    confusion_figure,
    downsample,
    score_intervals,
    training_curve,
)
from cl_core.report.report_inputs import finite_points


def test_downsampling_keeps_mean_extremes_and_the_last_step():
    points = np.column_stack([np.arange(1000.0), np.tile([0.0, 10.0], 500)])
    drawn = downsample(points, 100)
    assert drawn.shape == (100, 4)
    assert drawn[-1, 0] == 999
    assert np.all(drawn[:, 1:] == [5, 0, 10])


def test_few_points_are_drawn_as_they_are():
    points = np.array([[0.0, 3.0], [5.0, 2.0]])
    assert downsample(points, 100).tolist() == [[0, 3, 3, 3], [5, 2, 2, 2]]
    assert downsample(np.empty((0, 2)), 100).shape == (0, 4)


def test_what_was_not_reported_or_is_not_finite_is_no_point():
    curves = [{"step": 0, "loss": 2.0}, {"step": 1}, {"step": 2, "loss": math.nan}, {"step": 3, "loss": 1.0}]
    assert finite_points(curves, "loss").tolist() == [[0, 2], [3, 1]]


@pytest.mark.parametrize(("reported", "drawn"), [(1, 1), (50, 50), (240, 240), (100_000, 240)])
def test_a_curve_has_a_point_per_report_up_to_its_limit(reported: int, drawn: int):
    curves = [{"step": step, "loss": 1 / (1 + step)} for step in range(reported)]
    figure = training_curve(curves, "loss", width=300, height=160)
    assert figure is not None
    assert len(figure.axes[0].lines[0].get_xdata()) == drawn


def test_a_quantity_never_reported_has_no_curve():
    assert training_curve([{"step": 0, "loss": 1.0}], "alignment", width=300, height=160) is None


def test_scores_that_are_no_shares_stay_off_the_common_axis():
    half = Score(value=0.5, low=0.4, high=0.6)
    trained = {"knn_20.accuracy": half, "linear_probe.f1": half, "geometry.uniformity": half}
    figure = score_intervals({"trained": trained, "champion": {"knn_20.accuracy": half}})
    assert figure is not None
    points = {line.get_label(): line.get_xdata() for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert {name: len(values) for name, values in points.items()} == {"trained": 2, "champion": 1}
    assert score_intervals({"trained": {"geometry.uniformity": half}}) is None


def test_an_interval_is_drawn_from_its_low_to_its_high_end():
    figure = score_intervals({"trained": {"knn_20.accuracy": Score(value=0.7, low=0.4, high=0.6)}})
    assert figure is not None
    (segment,) = figure.axes[0].collections[0].get_segments()
    assert segment[:, 0].tolist() == [0.4, 0.6]


def test_confusion_shades_by_the_share_of_the_row_and_writes_counts():
    axes = confusion_figure([[30, 10], [0, 5]], ["Bag", "Coat"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["30", "10", "5"]
    assert [patch.get_alpha() for patch in axes.patches] == [0.75, 0.25, 1.0]


def test_of_many_classes_the_confusion_shows_those_with_most_mistakes():
    counts = np.diag(np.full(100, 50))
    counts[70:, 0] = 9
    axes = confusion_figure(counts.tolist(), [f"class {index}" for index in range(100)]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"class {index}" for index in range(70, 100)]


def test_class_counts_stack_the_splits_largest_class_first():
    axes = class_counts({"train": {"Bag": 3, "Coat": 30}, "test": {"Bag": 2}}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Coat", "Bag"]
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 30), (0, 3), (30, 0), (3, 2)]


def test_of_many_classes_the_counts_show_the_largest_and_the_smallest():
    axes = class_counts({"train": {f"{count:03}": count for count in range(1, 101)}}).axes[0]
    shown = [int(label.get_text()) for label in axes.get_yticklabels()]
    assert shown == [*range(100, 85, -1), *range(15, 0, -1)]


@pytest.mark.parametrize("count", [1, 10, 11, 100])
def test_every_class_has_a_color_of_its_own(count: int):
    assert len(set(class_colors(count))) == count


def test_a_figure_follows_the_colors_of_the_page_and_names_itself():
    figure = training_curve([{"step": 0, "loss": 1.0}, {"step": 1, "loss": 0.5}], "loss", width=300, height=160)
    assert figure is not None
    svg = to_svg(figure, 'Loss "now" & then')
    assert 'aria-label="Loss &quot;now&quot; &amp; then"' in svg
    assert 'viewBox="0 0 300 160"' in svg
    assert "var(--accent)" in svg and "#0" not in svg.replace("url(#", "")
    assert "http" not in svg and "<g id=" not in svg
    assert not [child for child in figure.axes[0].get_children() if isinstance(child, PathCollection)]
