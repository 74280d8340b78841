"""Map the test embeddings: t-SNE to two dimensions, colored by class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cl_core.report import drawing
from cl_core.report.drawing import class_colors, new_figure, plain_axes
from cl_core.report.wording import shortened

LARGEST_MAP = 2000  # points; t-SNE takes about 5 s for these on one core, and more would only blacken the map
SMALLEST_TSNE = 100  # points; of fewer, at perplexity 30, t-SNE shows its own noise
LABELLED_CLASSES = 30


def unit_rows(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Project (M, F) embeddings onto the unit sphere, where dot products are cosines; zero rows stay zero."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def map_sample(rows: int) -> NDArray[np.int64]:
    """Return the indices of the test samples that the map shows: all of a few, a seeded sample of many."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:LARGEST_MAP])


def project(unit: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return two coordinates per row of (M, F) unit embeddings, close where the cosine similarity is high.

    t-SNE, or the first two principal components where there is too little to unfold: few points, or collapsed ones.

    Source: van der Maaten & Hinton 2008, "Visualizing Data using t-SNE", JMLR 9; started from principal components as
    in Kobak & Berens 2019, arXiv:1812.03748 [q-bio].
    """
    principal = _principal_components(unit.astype(np.float64))
    spread = principal[:, 0].std() if len(unit) else 0.0
    if len(unit) < SMALLEST_TSNE or spread < 1e-4:
        return principal
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # Squared Euclidean distances between unit rows, which t-SNE starts from, are twice the cosine distances.
    start = (principal / spread * 1e-4).astype(np.float32)
    tsne = TSNE(init=start, angle=0.7, max_iter=500, random_state=0)  # type: ignore[no-untyped-call]
    with threadpool_limits(1):  # several threads add up in any order, and t-SNE magnifies the last bit
        return np.asarray(tsne.fit_transform(unit), dtype=np.float64)


def embedding_map(places: NDArray[np.float64], labels: NDArray[np.integer] | None, classes: Sequence[str]) -> Figure:
    """Draw a dot per row of (M, 2) places, colored by class, with each class's name at its median."""
    figure = new_figure(760, 620)
    axes = plain_axes(figure)
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.set_adjustable("datalim")
    colors = class_colors(len(classes))
    points = drawing.ACCENT if labels is None else [colors[label] if label >= 0 else drawing.MUTED for label in labels]
    axes.scatter(places[:, 0], places[:, 1], s=14, c=points, alpha=0.75, linewidths=0)
    present = [] if labels is None else np.unique(labels[labels >= 0]).tolist()
    if not 0 < len(present) <= LABELLED_CLASSES:
        return figure
    medians = np.array([np.median(places[labels == label], axis=0) for label in present])
    line = 0.034 * np.ptp(places[:, 1])
    for label, (x, y) in zip(present, spread_apart(medians, line), strict=True):
        axes.text(
            x, y, shortened(classes[label]), ha="center", va="center", color=drawing.INK, fontsize=14, parse_math=False
        )
    return figure


def spread_apart(places: NDArray[np.float64], line: float) -> NDArray[np.float64]:
    """Move (K, 2) labels up and down, as little as needed, until none is within a `line` above a near one.

    Labels are taken to be six lines wide.
    """
    moved = places.copy()
    for _ in range(100):
        order = np.argsort(moved[:, 1])
        clashes = [
            (below, above)
            for rank, below in enumerate(order)
            for above in order[rank + 1 :]
            if moved[above, 1] - moved[below, 1] < 0.999 * line and abs(moved[above, 0] - moved[below, 0]) < 6 * line
        ]
        if not clashes:
            break
        for below, above in clashes:
            push = max(0.0, line - (moved[above, 1] - moved[below, 1])) / 2
            moved[below, 1] -= push
            moved[above, 1] += push
    return moved


def _principal_components(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (M, 2) coordinates along the two directions of largest variance; zeros for a missing direction."""
    centered = rows - rows.mean(axis=0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    # The sign of a singular vector is arbitrary; a positive largest entry fixes it.
    directions = directions[:2]
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)]
    coordinates = centered @ (directions * np.where(largest < 0, -1, 1)[:, None]).T
    return np.pad(coordinates, ((0, 0), (0, 2 - coordinates.shape[1])))
