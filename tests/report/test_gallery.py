import base64
import io

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from cl_core.modalities.image import png_uri
from cl_core.report.gallery import confident_mistakes, gallery, nearest_neighbors, random_queries

GENERATOR = np.random.default_rng(3)
EMBEDDINGS = GENERATOR.normal(size=(300, 12)).astype(np.float32)
IMAGES = GENERATOR.integers(0, 256, (300, 6, 6, 1), dtype=np.uint8)
LABELS = np.arange(300) % 5
CLASSES = ["a", "b", "c", "d", "e"]


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first.astype(np.float64), second.astype(np.float64)
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def shown(index: int) -> Markup:
    return Markup(f"<b>{index}</b>")


def test_neighbors_equal_brute_force():
    queries = list(range(0, 300, 2))
    for query, (indices, similarities) in zip(queries, nearest_neighbors(EMBEDDINGS, queries, 8), strict=True):
        others = [(-cosine(EMBEDDINGS[query], EMBEDDINGS[other]), other) for other in range(300) if other != query]
        expected = sorted(others)[:8]
        assert indices == [other for _, other in expected]
        assert similarities == pytest.approx([-negated for negated, _ in expected], abs=1e-6)


def test_there_are_at_most_all_others():
    assert nearest_neighbors(EMBEDDINGS[:3], [1], 8)[0][0] in ([0, 2], [2, 0])


def test_random_queries_take_every_class_before_a_second_of_any():
    queries = random_queries(300, LABELS, {0, 1, 2}, 8, seed=0)
    assert sorted(LABELS[queries[:5]].tolist()) == [0, 1, 2, 3, 4]
    assert len(set(queries)) == 8 and not {0, 1, 2} & set(queries)
    assert queries == random_queries(300, LABELS, {0, 1, 2}, 8, seed=0)


def test_the_most_confident_mistake_is_the_one_whose_neighbors_all_agree():
    """Row 0 lies amid class 1, row 30 between class 0 and class 1; both are of class 0 and taken for class 1."""
    embeddings = np.repeat(np.eye(2, dtype=np.float32), 30, axis=0) + 0.01 * GENERATOR.normal(size=(60, 2))
    labels = np.repeat([0, 1], 30)
    embeddings[0], embeddings[29] = (0, 1), (0.7, 0.7)
    predicted = labels.copy()
    predicted[[0, 29]] = 1
    assert confident_mistakes(embeddings.astype(np.float32), labels, predicted, 4, seed=0) == [(0, 1)]
    assert confident_mistakes(embeddings.astype(np.float32), labels, None, 4, seed=0) == [(0, 1)]


def test_without_a_mistake_all_queries_are_random():
    rows = gallery(shown, EMBEDDINGS, LABELS, LABELS, CLASSES)
    assert [row.predicted for row in rows] == [""] * 8


def test_a_gallery_shows_mistakes_last_and_marks_the_same_class():
    predicted = np.where(np.arange(300) < 50, (LABELS + 1) % 5, LABELS)
    rows = gallery(shown, EMBEDDINGS, LABELS, predicted, CLASSES)
    assert [bool(row.predicted) for row in rows] == [False] * 4 + [True] * 4
    for row in rows:
        assert len(row.neighbors) == 8
        assert all(found.same_class == (found.name == row.query.name) for found in row.neighbors)
        assert row.predicted != row.query.name


def test_without_labels_there_are_no_classes_and_no_mistakes():
    rows = gallery(shown, EMBEDDINGS, None, None, [])
    assert len(rows) == 8
    assert {(found.name, found.same_class) for row in rows for found in row.neighbors} == {("", None)}


def test_one_image_has_no_neighbors():
    assert gallery(shown, EMBEDDINGS[:1], None, None, []) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_image_keeps_its_pixels(channels: int):
    image = GENERATOR.integers(0, 256, (6, 9, channels), dtype=np.uint8)
    png = base64.b64decode(png_uri(image, 64).removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.array(Image.open(io.BytesIO(png))).reshape(6, 9, channels), image)


def test_a_large_image_is_shrunk_in_proportion():
    png = base64.b64decode(png_uri(np.zeros((100, 200, 3), np.uint8), 64).removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(png)).size == (64, 32)
