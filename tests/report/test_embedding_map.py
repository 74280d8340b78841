import numpy as np
import pytest

from cl_core.report.drawing import to_svg
from cl_core.report.embedding_map import LARGEST_MAP, embedding_map, map_sample, project, spread_apart, unit_rows


def three_groups(rows: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(rows) % 3
    noise = np.random.default_rng(1).normal(size=(rows, 16))
    return unit_rows((np.eye(3, 16)[labels] + 0.1 * noise).astype(np.float32)), labels


def test_unit_rows_have_length_one_and_zero_rows_stay_zero():
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


@pytest.mark.integration
def test_the_map_is_deterministic():
    unit, _ = three_groups(300)
    assert np.array_equal(project(unit), project(unit))


def test_neighbors_in_the_map_are_of_the_same_group():
    unit, labels = three_groups(300)
    places = project(unit)
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert np.mean(labels[distances.argmin(axis=1)] == labels) == 1


def test_few_points_are_placed_by_principal_components():
    unit = np.array([[1, 0, 0], [-1, 0, 0], [0, 0.5, 0], [0, -0.5, 0]], np.float32)
    assert np.allclose(project(unit), [[1, 0], [-1, 0], [0, 0.5], [0, -0.5]])


@pytest.mark.parametrize("shape", [(1, 8), (5, 1), (300, 8)])
def test_collapsed_embeddings_are_one_place(shape: tuple[int, int]):
    places = project(unit_rows(np.ones(shape, np.float32)))
    assert places.shape == (shape[0], 2)
    assert np.allclose(places, 0, atol=1e-5)
    to_svg(embedding_map(places, None, []), "one place")


def test_a_large_split_is_sampled_and_a_small_one_is_not():
    assert map_sample(5).tolist() == [0, 1, 2, 3, 4]
    sample = map_sample(50_000)
    assert len(set(sample.tolist())) == LARGEST_MAP
    assert np.array_equal(sample, map_sample(50_000))


def test_the_map_has_a_dot_per_image_and_a_name_per_class_at_its_median():
    places = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0], [40.0, 9.0], [-5.0, -5.0]])
    figure = embedding_map(places, np.array([0, 0, 0, 2, -1]), ["Bag", "Coat", "Shirt"])
    (dots,) = figure.axes[0].collections
    assert dots.get_offsets().tolist() == places.tolist()
    assert [(text.get_text(), text.get_position()) for text in figure.axes[0].texts] == [
        ("Bag", (2.0, 0.0)),
        ("Shirt", (40.0, 9.0)),
    ]
    assert to_svg(figure, "map").count("<use") == 5


def test_names_on_one_spot_are_moved_apart():
    moved = spread_apart(np.array([[0.0, 0.0], [1.0, 0.1], [0.5, 0.0], [90.0, 0.0]]), line=1.0)
    heights = np.sort(moved[:3, 1])
    assert np.all(np.diff(heights) > 0.99)
    assert moved[3].tolist() == [90, 0]
