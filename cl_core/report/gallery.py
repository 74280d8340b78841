"""Show test samples beside their nearest neighbors: what the encoder considers similar."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cl_core.columns import Column
from cl_core.evaluation.nearest import nearest_in_blocks

QUERIES = 8
NEIGHBORS = 8
EXAMINED_MISTAKES = 500
LARGEST_SIDE = 64  # pixels; keeps a page with photographs under 3 MB


class Picture(NamedTuple):
    """A sample on the page and its caption."""

    html: Markup  # Self-contained.
    name: str  # Its class; empty without a label.
    similarity: float  # Cosine similarity with the query.
    same_class: bool | None  # Whether it is of the query's class; None where either has no label.


class GalleryRow(NamedTuple):
    """A query and its nearest neighbors, nearest first."""

    query: Picture
    predicted: str  # The wrong class that was predicted for the query; empty unless the row shows a mistake.
    neighbors: list[Picture]


def gallery(
    preview: Callable[[int], Markup],
    embeddings: NDArray[np.float32],
    labels: NDArray[np.integer] | None,
    predicted: NDArray[np.integer] | None,
    classes: Sequence[str],
    seed: int = 0,
) -> list[GalleryRow]:
    """Return random queries of different classes, then the most confident mistakes; nothing for a single sample.

    `preview` gives a sample as HTML, by its position. Embeddings are read in blocks.
    """
    if len(embeddings) < 2:
        return []

    def picture(index: int, query: int, similarity: float) -> Picture:
        label, of_query = (-1, -1) if labels is None else (labels[index], labels[query])
        same_class = bool(label == of_query) if min(label, of_query) >= 0 else None
        name = classes[label] if label >= 0 else ""
        return Picture(preview(index), name, similarity, same_class)

    mistakes = [] if labels is None else confident_mistakes(embeddings, labels, predicted, QUERIES // 2, seed)
    wrong = {query: classes[label] for query, label in mistakes}
    queries = random_queries(len(embeddings), labels, set(wrong), QUERIES - len(wrong), seed) + list(wrong)
    rows = []
    for query, (indices, similarities) in zip(queries, nearest_neighbors(embeddings, queries, NEIGHBORS), strict=True):
        neighbors = [picture(index, query, cosine) for index, cosine in zip(indices, similarities, strict=True)]
        rows.append(GalleryRow(picture(query, query, 1.0), wrong.get(query, ""), neighbors))
    return rows


def nearest_neighbors(
    embeddings: NDArray[np.float32], queries: Sequence[int], count: int
) -> list[tuple[list[int], list[float]]]:
    """Return for each query the `count` other rows of highest cosine similarity, nearest first, and the cosines."""
    if not queries:
        return []
    count, bank = min(count, len(embeddings) - 1), Column(embeddings)
    blocks = nearest_in_blocks(bank.select(np.asarray(queries)), bank, k=count + 1)
    rows = [row for block in blocks for row in zip(block.positions.tolist(), block.cosines.tolist(), strict=True)]
    neighbors = []
    for query, (positions, cosines) in zip(queries, rows, strict=True):
        others = [rank for rank, position in enumerate(positions) if position != query][:count]
        neighbors.append(([positions[rank] for rank in others], [cosines[rank] for rank in others]))
    return neighbors


def random_queries(
    rows: int, labels: NDArray[np.integer] | None, excluded: set[int], count: int, seed: int
) -> list[int]:
    """Return up to `count` indices in a seeded random order, a second of a class only after one of every class."""
    order = [index for index in np.random.default_rng(seed).permutation(rows).tolist() if index not in excluded]
    if labels is not None:
        seen: dict[int, int] = {}
        rounds = {}
        for index in order:
            rounds[index] = seen[labels[index]] = seen.get(labels[index], -1) + 1
        order.sort(key=rounds.__getitem__)
    return order[:count]


def confident_mistakes(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.integer],
    predicted: NDArray[np.integer] | None,
    count: int,
    seed: int,
) -> list[tuple[int, int]]:
    """Return up to `count` wrongly predicted rows, with the class predicted, whose neighbors agree most on that class.

    Each pair of true and predicted class occurs once. Of many mistakes a seeded sample is examined.
    """
    candidates = labels >= 0
    if predicted is not None:
        candidates &= (predicted >= 0) & (predicted != labels)
    examined = np.random.default_rng(seed).permutation(np.flatnonzero(candidates))[:EXAMINED_MISTAKES].tolist()
    ranked = []
    for query, (indices, similarities) in zip(
        examined, nearest_neighbors(embeddings, examined, NEIGHBORS), strict=True
    ):
        votes = Counter(label for label in labels[indices].tolist() if label >= 0)
        label = (votes or Counter({-1: 1})).most_common(1)[0][0] if predicted is None else int(predicted[query])
        if label not in (-1, labels[query]):
            ranked.append((-votes[label], -float(np.mean(similarities)), query, label))
    chosen: dict[tuple[int, int], int] = {}
    for *_, query, label in sorted(ranked):
        chosen.setdefault((int(labels[query]), label), query)
    return [(query, label) for (_, label), query in list(chosen.items())[:count]]
