import math

import numpy as np
import pytest
import torch

from cl_core.evaluation.embedding_metrics import alignment, effective_rank, feature_std, uniformity


@pytest.fixture
def embeddings() -> torch.Tensor:
    return torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) + 0.5


def unit(embeddings: torch.Tensor) -> np.ndarray:
    rows = embeddings.double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_alignment_is_equation_4(embeddings):
    first, second = unit(embeddings[:20]), unit(embeddings[20:])
    expected = sum(sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) for pair in zip(first, second, strict=True))
    assert alignment(embeddings[:20], embeddings[20:]).item() == pytest.approx(expected / 20, rel=1e-5)


def test_uniformity_is_equation_5(embeddings):
    rows = unit(embeddings)
    kernel = [
        math.exp(-2 * sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True)))
        for i in range(40)
        for j in range(40)
        if i != j
    ]
    assert uniformity(embeddings).item() == pytest.approx(math.log(sum(kernel) / len(kernel)), rel=1e-5)


def test_effective_rank_is_the_exponential_entropy_of_numpys_singular_values(embeddings):
    values = np.linalg.svd(embeddings.double().numpy(), compute_uv=False)
    shares = values / values.sum()
    assert effective_rank(embeddings).item() == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-5)


def test_feature_std_is_numpys(embeddings):
    assert feature_std(embeddings).item() == pytest.approx(unit(embeddings).std(axis=0).mean(), rel=1e-5)


def test_collapsed_embeddings_have_no_distance_no_spread_and_one_direction():
    collapsed = torch.tensor([[3.0, -1.0, 2.0, 0.5]]).repeat(64, 1)
    assert alignment(collapsed, collapsed).item() == 0
    assert uniformity(collapsed).item() == pytest.approx(0, abs=1e-6)
    assert feature_std(collapsed).item() == pytest.approx(0, abs=1e-6)
    assert effective_rank(collapsed).item() == pytest.approx(1, abs=1e-4)


def test_embeddings_that_are_zero_count_as_collapsed():
    zeros = torch.zeros(8, 4)
    figures = alignment(zeros, zeros), uniformity(zeros), feature_std(zeros), effective_rank(zeros)
    assert [figure.item() for figure in figures] == [0, 0, 0, 1]


def test_a_gaussian_of_4096_rows_and_128_columns_is_spread_almost_evenly():
    gaussian = torch.randn(4096, 128, generator=torch.Generator().manual_seed(0))
    assert effective_rank(gaussian).item() == pytest.approx(127.5, abs=0.05)
    assert uniformity(gaussian).item() == pytest.approx(-4 + 8 / 128, abs=0.005)
    assert feature_std(gaussian).item() == pytest.approx(1 / math.sqrt(128), rel=0.002)
    assert alignment(gaussian, gaussian.roll(1, dims=0)).item() == pytest.approx(2, abs=0.02)


def test_opposite_views_are_as_far_apart_as_can_be(embeddings):
    assert alignment(embeddings, -3 * embeddings).item() == pytest.approx(4)


def test_orthogonal_directions_used_alike_count_in_full():
    assert effective_rank(7 * torch.eye(5)).item() == pytest.approx(5)
