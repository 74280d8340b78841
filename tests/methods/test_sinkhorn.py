"""Sinkhorn's algorithm against its iteration done by hand, against another library, and at its limits."""

import math

import pytest
import torch
from lightly.loss.swav_loss import sinkhorn as by_lightly

from cl_core.methods._sinkhorn import sinkhorn


def cosines(rows, prototypes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, prototypes, generator=generator, dtype=torch.float64) * 2 - 1


def by_hand(scores, epsilon, iterations):
    """Alternately: each prototype's column sums to 1 / K, each row to 1 / B; at last each row to 1."""
    rows, prototypes = len(scores), len(scores[0])
    weight = [[math.exp(score / epsilon) for score in row] for row in scores.tolist()]
    for _ in range(iterations):
        columns = [sum(row[k] for row in weight) for k in range(prototypes)]
        weight = [[row[k] / columns[k] / prototypes for k in range(prototypes)] for row in weight]
        weight = [[value / sum(row) / rows for value in row] for row in weight]
    return torch.tensor([[value * rows for value in row] for row in weight], dtype=torch.float64)


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
@pytest.mark.parametrize(("rows", "prototypes"), [(7, 4), (3, 9), (1, 5)])
def test_the_assignments_are_those_of_alternate_normalization(rows, prototypes, epsilon, iterations):
    scores = cosines(rows, prototypes)
    found = sinkhorn(scores, epsilon=epsilon, iterations=iterations)
    torch.testing.assert_close(found, by_hand(scores, epsilon, iterations), atol=1e-13, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_the_assignments_agree_with_lightly(dtype, tolerance):
    scores = cosines(64, 20)
    found = sinkhorn(scores.to(dtype), epsilon=0.05, iterations=3)
    torch.testing.assert_close(found.double(), by_lightly(scores, 3, 0.05), atol=tolerance, rtol=0)


def test_two_rows_and_two_prototypes_by_arithmetic():
    """Scores (s, 0), (0, 0); a = exp(s / epsilon): columns make a/(a+1), 1/2 and 1/(a+1), 1/2; then rows sum to 1."""
    a = math.exp(0.3 / 0.1)
    first, second = a / (a + 1), 1 / (a + 1)
    expected = [[first / (first + 0.5), 0.5 / (first + 0.5)], [second / (second + 0.5), 0.5 / (second + 0.5)]]
    found = sinkhorn(torch.tensor([[0.3, 0.0], [0.0, 0.0]], dtype=torch.float64), epsilon=0.1, iterations=1)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-14, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_that_coincide_are_assigned_uniformly(dtype):
    found = sinkhorn(cosines(1, 12).repeat(30, 1).to(dtype), epsilon=0.05, iterations=1)
    torch.testing.assert_close(found, torch.full((30, 12), 1 / 12, dtype=dtype))


def test_each_row_sums_to_one_and_all_prototypes_converge_to_equal_shares():
    found = sinkhorn(cosines(40, 8), epsilon=0.2, iterations=100)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(40, dtype=torch.float64), atol=1e-14, rtol=0)
    torch.testing.assert_close(found.sum(dim=0), torch.full((8,), 5.0, dtype=torch.float64), atol=1e-9, rtol=0)


def test_each_row_keeps_its_assignment_at_any_position():
    scores, order = cosines(31, 6), torch.randperm(31, generator=torch.Generator().manual_seed(1))
    whole = sinkhorn(scores, epsilon=0.05, iterations=3)
    torch.testing.assert_close(sinkhorn(scores[order], epsilon=0.05, iterations=3), whole[order], atol=1e-14, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_logarithms_do_not_overflow_where_exponentials_would(dtype):
    """exp(1 / 0.001) is beyond float64; the hardest assignments are those of a matching: one row, one prototype."""
    scores = torch.eye(5).to(dtype)
    found = sinkhorn(scores, epsilon=0.001, iterations=3)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.eye(5))


def test_there_is_no_gradient():
    assert not sinkhorn(cosines(4, 3).requires_grad_(), epsilon=0.05, iterations=3).requires_grad


def test_no_rows_have_no_assignments():
    assert sinkhorn(torch.zeros(0, 3), epsilon=0.05, iterations=3).shape == (0, 3)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_scores_that_are_no_matrix_are_refused_with_their_shape(shape):
    with pytest.raises(ValueError, match=r"wanted scores \(B, K\); got \(" + ", ".join(map(str, shape))):
        sinkhorn(torch.zeros(shape), epsilon=0.05, iterations=3)
