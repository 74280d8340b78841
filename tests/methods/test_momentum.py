"""Networks that follow another: weights and statistics by hand, and what a key must not depend on."""

import copy

import pytest
import torch
from lightly.models.utils import update_momentum
from torch import nn

from cl_core.methods._momentum import MomentumNetwork, batch_statistics


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).double()


def norm_only():
    return nn.Sequential(nn.BatchNorm1d(2)).double()


def test_a_weight_of_1_following_3_with_momentum_three_quarters_becomes_one_and_a_half():
    followed = nn.Linear(1, 1, bias=False)
    nn.init.ones_(followed.weight)
    copied = MomentumNetwork(followed, averages_statistics=True)
    nn.init.constant_(followed.weight, 3)
    copied.follow(followed, momentum=0.75)
    assert copied.network.weight.item() == 1.5
    copied.follow(followed, momentum=0.75)
    assert copied.network.weight.item() == 1.875


@pytest.mark.parametrize("averages", [False, True])
def test_weights_follow_as_in_lightly(averages):
    ours, theirs = MomentumNetwork(network(0), averages_statistics=averages), network(0)
    for step in range(3):
        ours.follow(network(step + 1), momentum=0.9)
        update_momentum(network(step + 1), theirs, m=0.9)
    for mine, reference in zip(ours.network.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-14, rtol=0)


def test_it_starts_as_a_copy_that_only_follow_changes():
    followed = network()
    copied = MomentumNetwork(followed, averages_statistics=True)
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert all(parameter.requires_grad for parameter in followed.parameters())
    before = copy.deepcopy(dict(copied.named_parameters()))
    nn.init.zeros_(followed[0].weight)
    copied(rows(5, 3))
    assert all(torch.equal(value, before[name]) for name, value in copied.named_parameters())
    assert torch.equal(copied.network[3].weight, followed[3].weight)


@pytest.mark.parametrize("averages", [False, True])
def test_no_gradient_goes_through_it(averages):
    views = rows(5, 3).requires_grad_()
    made = MomentumNetwork(network(), averages_statistics=averages)(views)
    assert made.shape == (5, 2) and not made.requires_grad


def test_with_averaged_statistics_it_stays_in_eval_mode_from_the_second_step_on_inside_a_method_that_trains():
    followed = network().train()
    method = nn.Sequential(followed, MomentumNetwork(followed, averages_statistics=True)).train()
    assert all(module.training for module in method.modules())
    followed(rows(5, 3))
    method[1].follow(followed, momentum=0.9)
    for trains in (method, method.train(), method.eval().train()):
        assert trains[0].training and not any(module.training for module in trains[1].modules())


def test_with_its_own_statistics_it_is_in_the_mode_of_the_method():
    method = nn.Sequential(MomentumNetwork(network(), averages_statistics=False))
    method[0].follow(network(), momentum=0.9)
    assert all(module.training for module in method.train().modules())
    assert not any(module.training for module in method.eval().modules())


def test_in_the_first_step_it_normalizes_with_the_batch_because_there_are_no_statistics():
    copied = MomentumNetwork(norm_only(), averages_statistics=True)
    made = copied(torch.tensor([[3.0, 1], [7, 9]], dtype=torch.float64))
    torch.testing.assert_close(made, torch.tensor([[-1.0, -1], [1, 1]], dtype=torch.float64), atol=1e-5, rtol=0)


def test_with_averaged_statistics_a_row_is_the_same_whatever_else_is_in_its_batch():
    """Batch norm in train mode would tell the rows of one batch from those of another."""
    followed = network().train()
    eman, own = (MomentumNetwork(followed, averages_statistics=averages) for averages in (True, False))
    followed(rows(16, 3))
    for copied in (eman, own):
        copied.follow(followed, momentum=0.9)
    first, second = (torch.cat([rows(1, 3), rows(4, 3, seed=seed)]) for seed in (1, 2))
    assert torch.equal(eman(first)[0], eman(second)[0])
    assert (own(first)[0] - own(second)[0]).abs().max() > 0.01


def test_after_the_first_batch_its_statistics_are_that_batch_s_and_no_share_of_mean_0_and_variance_1():
    # Rows 3 and 7: mean 5, variance 8 with the unbiased divisor; the followed norm itself keeps 0.5 and 1.7.
    followed = norm_only().train()
    copied = MomentumNetwork(followed, averages_statistics=True)
    followed(torch.tensor([[3.0, 3], [7, 7]], dtype=torch.float64))
    assert followed[0].running_mean.tolist() == pytest.approx([0.5, 0.5])
    assert followed[0].running_var.tolist() == pytest.approx([1.7, 1.7])
    copied.follow(followed, momentum=0.99)
    assert copied.network[0].running_mean.tolist() == pytest.approx([5, 5], rel=1e-12)
    assert copied.network[0].running_var.tolist() == pytest.approx([8, 8], rel=1e-12)


def test_later_statistics_are_the_moving_average_of_the_followed_network_s():
    """Those in turn weigh the batch seen k batches ago by 0.9 ** k, and their weights add up to 1."""
    followed = norm_only().train()
    copied = MomentumNetwork(followed, averages_statistics=True)
    mean, variance, means, variances = None, None, [], []
    for step in range(4):
        batch = 2 + 3 * rows(6, 2, seed=step)
        means.append(batch.mean(0))
        variances.append(((batch - batch.mean(0)) ** 2).sum(0) / 5)
        weights = [0.9**age for age in reversed(range(step + 1))]
        seen_mean = sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights)
        seen_variance = sum(w * v for w, v in zip(weights, variances, strict=True)) / sum(weights)
        mean = seen_mean if mean is None else 0.8 * mean + 0.2 * seen_mean
        variance = seen_variance if variance is None else 0.8 * variance + 0.2 * seen_variance
        followed(batch)
        copied.follow(followed, momentum=0.8)
        torch.testing.assert_close(copied.network[0].running_mean, mean, atol=1e-12, rtol=0)
        torch.testing.assert_close(copied.network[0].running_var, variance, atol=1e-12, rtol=0)


def test_a_norm_that_has_seen_no_batch_has_the_statistics_that_it_began_with():
    norm = nn.BatchNorm1d(3)
    mean, variance = batch_statistics(norm)
    assert mean.tolist() == [0, 0, 0] and variance.tolist() == [1, 1, 1]


def test_statistics_of_a_constant_are_its_value_and_a_variance_of_0_also_in_float32():
    """Rounding must not leave a variance below 0, whose root is NaN."""
    norm = nn.BatchNorm1d(1).train()
    for _ in range(50):
        norm(torch.full((8, 1), 3.3))
    mean, variance = batch_statistics(norm)
    assert mean.item() == pytest.approx(3.3, rel=1e-6)
    assert 0 <= variance.item() < 1e-6


def test_without_averaged_statistics_its_own_follow_its_own_batches():
    followed = norm_only().train()
    copied = MomentumNetwork(followed, averages_statistics=False)
    followed(rows(6, 2))
    copied.follow(followed, momentum=0)
    assert copied.network[0].running_mean.tolist() == [0, 0]
    copied(torch.tensor([[3.0, 3], [7, 7]], dtype=torch.float64))
    assert copied.network[0].running_mean.tolist() == pytest.approx([0.5, 0.5])


def test_what_other_layers_remember_is_taken_over():
    followed = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)).train()
    copied = MomentumNetwork(followed, averages_statistics=True)
    followed(torch.ones(2, 4))
    assert not all(map(torch.equal, copied.network.buffers(), followed.buffers()))
    copied.follow(followed, momentum=0.5)
    assert all(map(torch.equal, copied.network.buffers(), followed.buffers()))


def test_loaded_from_its_state_dict_it_continues_exactly_also_if_it_was_in_train_mode_before():
    followed = network().train()
    first, second = (MomentumNetwork(network(seed), averages_statistics=True).train() for seed in (0, 1))
    followed(rows(6, 3))
    first.follow(followed, momentum=0.9)
    second.load_state_dict(first.state_dict())
    followed(rows(6, 3, seed=1))
    for copied in (first, second):
        copied(rows(4, 3, seed=2))
        copied.follow(followed, momentum=0.9)
    state = second.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.state_dict().items())
    assert torch.equal(first(rows(4, 3)), second(rows(4, 3)))
