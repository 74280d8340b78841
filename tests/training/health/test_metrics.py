"""Figures of a batch against their definitions, pair by pair in float64, and at their limits."""

import math

import pytest
import torch
from torch import Tensor

from cl_core.methods import Step
from cl_core.training.health.metrics import contrastive_accuracy, health, of_all_workers, pair_distances

SHAPES = [(20, 2, 20), (20, 1, 4), (20, 2, 4), (12, 3, 5)]
every_shape = pytest.mark.parametrize(("samples", "views", "number"), SHAPES)


def batch(samples: int, views: int, number: int) -> tuple[Tensor, Tensor]:
    """Rows round a common mean, and which of so many groups each sample is of."""
    generator = torch.Generator().manual_seed(samples * views)
    rows = torch.randn(samples, views, 6, generator=generator) + 1
    return rows, (torch.arange(samples) % number)[:, None].expand(samples, views)


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def pairs_of_rows(rows: Tensor) -> list[tuple[int, int, int, int]]:
    """(sample, view, sample, view) of what is compared: rows of different views, of any view where there is one."""
    samples, views, _ = rows.shape
    places = [(i, v) for i in range(samples) for v in range(views)]
    return [(i, v, j, w) for i, v in places for j, w in places if (v != w if views > 1 else i != j)]


@every_shape
def test_distances_are_the_means_over_all_pairs(samples: int, views: int, number: int) -> None:
    rows, groups = batch(samples, views, number)
    exact = unit(rows.double())
    found: dict[bool, list[float]] = {True: [], False: []}
    for i, v, j, w in pairs_of_rows(rows):
        squares = [(a - b) ** 2 for a, b in zip(exact[i, v].tolist(), exact[j, w].tolist(), strict=True)]
        found[bool(groups[i, v] == groups[j, w])].append(sum(squares))
    alike, apart = pair_distances(exact, groups)
    assert alike.item() == pytest.approx(sum(found[True]) / len(found[True]), rel=1e-12)
    assert apart.item() == pytest.approx(sum(found[False]) / len(found[False]), rel=1e-12)
    figures = health(rows, groups)
    assert figures.alignment == pytest.approx(alike.item(), rel=1e-6)
    assert figures.intraclass_correlation == pytest.approx(1 - alike.item() / apart.item(), abs=1e-6)


@every_shape
def test_accuracy_is_the_share_of_rows_whose_most_similar_is_of_their_group(
    samples: int, views: int, number: int
) -> None:
    rows, groups = batch(samples, views, number)
    exact = unit(rows.double())
    right = 0
    for i in range(samples):
        for v in range(views):
            others = [(j, w) for a, b, j, w in pairs_of_rows(rows) if (a, b) == (i, v)]
            cosines = [sum((exact[i, v] * exact[j, w]).tolist()) for j, w in others]
            j, w = others[cosines.index(max(cosines))]
            right += bool(groups[i, v] == groups[j, w])
    assert contrastive_accuracy(unit(rows), groups).item() == pytest.approx(right / (samples * views))


def test_uniformity_spread_and_rank_are_those_of_one_row_a_sample() -> None:
    """Two views that coincide would otherwise count as a lack of uniformity: exp(0) for one pair in 2 N - 1."""
    axes = torch.eye(5)
    twice = torch.stack([axes, axes], dim=1)
    figures = health(twice, torch.arange(5)[:, None].expand(5, 2))
    assert figures.uniformity == pytest.approx(-2 * 2)  # Right angles: squared distance 2, t = 2.
    assert figures.effective_rank == pytest.approx(5)
    assert figures.feature_std == pytest.approx(math.sqrt(0.2 * 0.8))
    assert figures.alignment == pytest.approx(0, abs=1e-12)
    assert figures.intraclass_correlation == pytest.approx(1)
    assert figures.accuracy == 1
    assert (figures.dimensions, figures.groups) == (5, 5)


@pytest.mark.parametrize("rows", [torch.ones(8, 2, 4), torch.zeros(8, 2, 4), torch.full((8, 2, 4), math.nan)])
def test_collapsed_embeddings(rows: Tensor) -> None:
    figures = health(rows, torch.arange(8)[:, None].expand(8, 2))
    assert figures.alignment == pytest.approx(0, abs=1e-12)
    assert figures.intraclass_correlation == pytest.approx(0, abs=1e-12)
    assert figures.uniformity == pytest.approx(0, abs=1e-6)
    assert figures.feature_std == pytest.approx(0, abs=1e-6)
    assert figures.effective_rank == pytest.approx(1, abs=1e-4)
    assert figures.accuracy <= 0.25  # All are equally near.


def test_unrelated_views_have_no_correlation_and_lie_at_right_angles() -> None:
    rows = torch.randn(512, 2, 64, generator=torch.Generator().manual_seed(0))
    figures = health(rows, torch.arange(512)[:, None].expand(512, 2))
    assert figures.intraclass_correlation == pytest.approx(0, abs=0.02)
    assert figures.alignment == pytest.approx(2, abs=0.02)
    assert figures.accuracy == pytest.approx(1 / 512, abs=0.006)
    assert figures.feature_std == pytest.approx(1 / 8, rel=0.01)


def test_nothing_depends_on_the_order_of_rows_their_length_or_the_names_of_groups() -> None:
    rows, groups = batch(20, 2, 4)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    first, second = health(rows, groups), health(3 * rows[order], 2**40 - 7 * groups[order])
    assert second == pytest.approx(first, rel=1e-5)


def test_a_batch_with_one_group_and_a_group_without_a_pair_are_no_error() -> None:
    rows = batch(6, 1, 6)[0]
    assert health(rows, torch.zeros(6, 1, dtype=torch.int64)).intraclass_correlation == 0
    assert health(rows, torch.arange(6)[:, None]).alignment == 0


def test_rows_ordered_by_view_are_reordered_by_sample_and_the_first_of_a_large_batch_are_measured() -> None:
    samples = 700
    rows = torch.arange(2 * samples, dtype=torch.float32)[:, None]
    ids = torch.arange(samples).repeat(2)
    embeddings, groups = of_all_workers(Step(torch.zeros(()), rows, ids), samples=samples)
    assert embeddings.shape == (512, 2, 1) and groups.shape == (512, 2)
    assert embeddings[3, :, 0].tolist() == [3, samples + 3]
    assert groups[3].tolist() == [3, 3]
