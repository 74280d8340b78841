"""Optimizers and the schedule against their formulas, computed by hand in float64."""

import math

import pytest
import torch
from torch import nn

from cl_core.specs import TrainingSpec
from cl_core.training.optimizer import LARS, build_optimizer
from cl_core.training.schedule import learning_rate


def test_lars_takes_the_steps_of_the_formula() -> None:
    torch.manual_seed(0)
    matrix, bias = nn.Parameter(torch.randn(3, 4).double()), nn.Parameter(torch.randn(3).double())
    w, b = matrix.detach().clone(), bias.detach().clone()
    v_w, v_b = torch.zeros_like(w), torch.zeros_like(b)
    lars = LARS(
        [{"params": [matrix], "weight_decay": 0.01}, {"params": [bias], "weight_decay": 0.0}], lr=0.5, momentum=0.9
    )
    for step in range(5):
        g_w, g_b = torch.full_like(w, 0.1 * step + 0.3), torch.full_like(b, -0.2)
        matrix.grad, bias.grad = g_w.clone(), g_b.clone()
        lars.step()
        decayed = g_w + 0.01 * w
        v_w = 0.9 * v_w + 0.001 * math.sqrt((w**2).sum()) / math.sqrt((decayed**2).sum()) * decayed
        v_b = 0.9 * v_b + g_b
        w, b = w - 0.5 * v_w, b - 0.5 * v_b
    torch.testing.assert_close(matrix.detach(), w, rtol=1e-12, atol=0)
    torch.testing.assert_close(bias.detach(), b, rtol=1e-12, atol=0)


def test_lars_moves_a_zero_weight_and_survives_a_zero_gradient() -> None:
    zero, still = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.ones(2, 2))
    zero.grad, still.grad = torch.ones(2, 2), torch.zeros(2, 2)
    LARS([zero, still], lr=0.1).step()
    torch.testing.assert_close(zero.detach(), torch.full((2, 2), -0.1))
    torch.testing.assert_close(still.detach(), torch.ones(2, 2))


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_biases_and_norms_are_never_decayed(name: str) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    optimizer = build_optimizer(module, TrainingSpec.model_validate({"optimizer": name, "weight_decay": 0.1}))
    decay = {parameter: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    assert [decay[parameter] for parameter in module.parameters()] == [0.1, 0.0, 0.0, 0.0]


def test_the_rate_rises_linearly_then_falls_along_a_cosine() -> None:
    rates = [learning_rate(step, peak=2.0, warmup_steps=4, total_steps=12) for step in range(12)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4] == 2.0
    assert rates[8] == pytest.approx(1.0)  # Half-way down.
    assert rates[11] == pytest.approx(2.0 * 0.5 * (1 + math.cos(math.pi * 7 / 8)))
    assert min(rates) > 0


def test_the_rate_equals_torchs_own_cosine() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)
    for step in range(50):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate(step, peak=0.3, warmup_steps=0, total_steps=50) == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        scheduler.step()
