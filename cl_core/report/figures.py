"""Draw the figures of the report, one function each."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cl_core.refs import Score
from cl_core.report import drawing
from cl_core.report.drawing import new_figure, plain_axes
from cl_core.report.report_inputs import finite_points
from cl_core.report.wording import is_share, shortened

DRAWN_POINTS = 240
SHOWN_CLASSES = 30
_COLUMN_COLORS = {
    "trained": drawing.TRAINED,
    "untrained": drawing.UNTRAINED,
    "champion": drawing.CHAMPION,
}


def downsample(points: NDArray[np.float64], limit: int = DRAWN_POINTS) -> NDArray[np.float64]:
    """Reduce (P, 2) points to at most `limit` rows of (step, mean, minimum, maximum), one per equal stretch."""
    stretches = np.array_split(points, min(limit, len(points))) if len(points) else []
    rows = [(part[-1, 0], part[:, 1].mean(), part[:, 1].min(), part[:, 1].max()) for part in stretches]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def training_curve(curves: Sequence[Mapping[str, float]], name: str, *, width: float, height: float) -> Figure | None:
    """Draw one quantity by training step: its mean, and a band from minimum to maximum where there are many points.

    Returns None when it was never reported.
    """
    drawn = downsample(finite_points(curves, name))
    if not len(drawn):
        return None
    figure = new_figure(width, height)
    axes = plain_axes(figure)
    steps, mean, least, greatest = drawn.T
    axes.fill_between(steps, least, greatest, color=drawing.ACCENT, alpha=0.18, linewidth=0)
    axes.plot(steps, mean, color=drawing.ACCENT, linewidth=2, marker="o" if len(drawn) < 12 else "", markersize=4)
    axes.grid(visible=False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:g}")
    return figure


def score_intervals(columns: Mapping[str, Mapping[str, Score]]) -> Figure | None:
    """Draw every score that is a fraction as a dot on its 95 % interval, the trained encoder above the others.

    Returns None without such a score. The page says which color is which.
    """
    names = [name for name in columns["trained"] if is_share(name)]
    if not names:
        return None
    lines = len(columns) + 1.6  # of one score: its name, then a line per column
    figure = new_figure(940, 40 + 18 * lines * len(names))
    axes = plain_axes(figure)
    for index, name in enumerate(names):
        axes.axhline(index * lines, color=drawing.LINE, linewidth=1)
        axes.text(
            0,
            index * lines + 0.8,
            name,
            transform=axes.get_yaxis_transform(),
            va="center",
            color=drawing.INK,
            fontsize=13,
            parse_math=False,
        )
    for place, (column, scores) in enumerate(columns.items()):
        rows = [(index * lines + place + 1.4, scores[name]) for index, name in enumerate(names) if name in scores]
        heights = [height for height, _ in rows]
        color = _COLUMN_COLORS.get(column, drawing.BASELINE)
        axes.hlines(heights, [score.low for _, score in rows], [score.high for _, score in rows], color, linewidth=2)
        axes.plot([score.value for _, score in rows], heights, "o", color=color, markersize=7, label=column)
    axes.set(yticks=[], ylim=(lines * len(names), 0))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7))
    axes.xaxis.set_major_formatter("{x:g}")
    return figure


def roc_figure(curves: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Draw true accepts of pairs by false accepts, a line for each representation; false accepts on a log scale.

    Args:
        curves: Points (false accept rate, true accept rate) from (0, 0) to (1, 1), by representation.
    """
    figure = new_figure(460, 330)
    axes = plain_axes(figure)
    least = min(far for points in curves.values() for far, _ in points if far > 0)
    chance = np.geomspace(least, 1, DRAWN_POINTS)
    axes.plot(chance, chance, color=drawing.MUTED, linewidth=1, linestyle=":")
    for name, points in reversed(list(curves.items())):
        far, tar = np.array(points).T
        axes.step(far, tar, where="post", color=_COLUMN_COLORS.get(name, drawing.BASELINE), linewidth=2)
    axes.set(xscale="log", xlim=(least, 1), ylim=(0, 1.02))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("false accept rate", color=drawing.MUTED, fontsize=11)
    axes.set_ylabel("true accept rate", color=drawing.MUTED, fontsize=11)
    return figure


def confusion_figure(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Draw counts of true (rows) against predicted class (columns), shaded by the fraction of the row.

    Of many classes, those with the most mistakes.
    """
    counts = np.array(confusion)
    mistakes = counts.sum(axis=1) - counts.diagonal()
    shown = np.sort(np.argsort(-mistakes, kind="stable")[:SHOWN_CLASSES])
    cell = 46 if len(shown) <= 12 else 27
    figure = new_figure(150 + cell * len(shown), 130 + cell * len(shown))
    axes = plain_axes(figure)
    axes.grid(visible=False)
    for row, true in enumerate(shown):
        for column, predicted in enumerate(shown):
            count = counts[true, predicted]
            if count == 0:
                continue
            share = count / counts[true].sum()
            axes.add_patch(
                Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, color=drawing.ACCENT, alpha=share, linewidth=0)
            )
            color = drawing.ON_ACCENT if share > 0.5 else drawing.INK
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=cell / 4.2)
    names = [shortened(classes[index]) for index in shown]
    axes.set_xticks(range(len(shown)), names, rotation=40, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(shown)), names, parse_math=False)
    axes.set(xlim=(-0.5, len(shown) - 0.5), ylim=(len(shown) - 0.5, -0.5), aspect="equal")
    axes.set_xlabel("predicted", color=drawing.MUTED, fontsize=11)
    axes.set_ylabel("true", color=drawing.MUTED, fontsize=11)
    return figure


def class_counts(classes: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw samples per class, one bar of all splits each. Of many classes, the largest and the smallest."""
    totals = sum(map(Counter, classes.values()), Counter[str]())
    names = sorted(totals, key=lambda name: (-totals[name], name))
    if len(names) > SHOWN_CLASSES:
        names = names[: SHOWN_CLASSES // 2] + names[-SHOWN_CLASSES // 2 :]
    figure = new_figure(450, 60 + 22 * len(names))
    axes = plain_axes(figure)
    left = np.zeros(len(names))
    for place, (split, counts) in enumerate(classes.items()):
        widths = np.array([counts.get(name, 0) for name in names])
        alpha = 0.9 * 0.5**place
        axes.barh(range(len(names)), widths, left=left, height=0.66, color=drawing.ACCENT, alpha=alpha, label=split)
        left += widths
    axes.set_yticks(range(len(names)), [shortened(name) for name in names], color=drawing.INK, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.legend(loc="outside upper right", ncols=4, frameon=False, fontsize=11, labelcolor=drawing.MUTED)
    return figure
