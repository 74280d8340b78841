"""What is learned does not depend on how many workers share a batch, nor on how evenly."""

from functools import cache

import components
import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss
from worlds import (
    CASES,
    LEARNING_RATE,
    MOMENTUM,
    ROWS,
    STEPS,
    TEMPERATURE,
    gather,
    means,
    neighbor,
    networks,
    results_of_world,
    samples,
    train,
)

from cl_core.parallel import collectives

# Of a batch, one for each worker.
SHARES = [(12,), (6, 6), (7, 5), (11, 1), (3, 3, 3, 3), (5, 4, 2, 1), (6, 0, 5, 1)]
# Of the ways, the uneven ones, and of the losses and methods one per family. The sweep has all.
SAMPLED_SHARES = [(12,), (7, 5), (6, 0, 5, 1)]
SAMPLED_NAMES = [
    *("loss/info_nce", "loss/pairwise_logistic", "loss/triplet"),
    *("method/barlow_twins", "method/facenet", "method/moco_v2", "method/simclr", "method/swav"),
]


def in_sweep_unless(is_sampled):
    return () if is_sampled else (pytest.mark.sweep,)


every_way = pytest.mark.parametrize(
    "shares",
    [
        pytest.param(shares, marks=in_sweep_unless(shares in SAMPLED_SHARES), id="+".join(map(str, shares)))
        for shares in SHARES
    ],
)
every_name = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=in_sweep_unless(name in SAMPLED_NAMES)) for name in components.names()]
)


@pytest.fixture(scope="module")
def names(request):
    """The losses and methods that are trained: all where every name is asked for, else a sample."""
    is_sweep = request.config.getoption("--sweep")
    return [name for name in components.names() if is_sweep or name in SAMPLED_NAMES]


@pytest.fixture(scope="module")
def results(names, tmp_path_factory):
    """What real process groups of one, two and four workers give, by the way that they share a batch."""
    cases = [name for name in CASES if name in names or name not in components.names()]
    return cache(lambda shares: results_of_world(shares, cases, tmp_path_factory.mktemp("world")))


@pytest.fixture
def workers(shares):
    return len(shares)


@pytest.fixture
def world(results, shares):
    """What each case gives where a batch is shared in the way of the test."""
    return results(shares)


@pytest.fixture(scope="module")
def reference():
    """The same training without Counterpoint: another library's loss, plain torch, the whole batch at once."""
    network = torch.nn.Sequential(*networks())
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    loss_of = SelfSupervisedLoss(NTXentLoss(TEMPERATURE))
    losses, gradients = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        (first, second), _ = samples(step)
        loss = loss_of(network(first), network(second))
        loss.backward()
        if step == 0:
            gradients = [parameter.grad.clone() for parameter in network.parameters()]
        optimizer.step()
        losses.append(loss.item())
    return losses, gradients, [parameter.detach().clone() for parameter in network.parameters()]


def assert_trained_alike(found, reference):
    losses, gradients, weights = found
    assert losses == pytest.approx(reference[0], abs=1e-10)
    for ours, theirs in zip(gradients, reference[1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)
    for ours, theirs in zip(weights, reference[2], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


def test_a_single_process_trains_as_another_library_does(reference):
    assert_trained_alike(train((ROWS,)), reference)


@every_way
def test_losses_gradients_and_weights_after_twenty_steps_are_those_of_a_single_process(world, reference):
    for found in world["train"]:
        assert_trained_alike(found, reference)


def test_the_reference_moves_far_enough_for_a_comparison(reference):
    """Weights that hardly move would agree whatever the gradients were."""
    losses, gradients, weights = reference
    begun = torch.nn.Sequential(*networks()).parameters()
    assert all((after - before).abs().max() > 1e-2 for before, after in zip(begun, weights, strict=True))
    assert all(gradient.abs().max() > 1e-3 for gradient in gradients)
    assert max(losses) - min(losses) > 0.1


@every_way
def test_gathered_rows_are_everyones_in_the_order_of_ranks(world, workers, shares):
    for everyone, _ in world["gather"]:
        assert everyone.tolist() == [[k, k] for k in range(ROWS)]


@every_way
def test_the_gradient_of_a_gathered_row_is_summed_over_the_workers_that_used_it(world, workers, shares):
    # Worker r weighs row k by (r + 1) (k + 1): over all workers (1 + ... + W) (k + 1).
    of_all = workers * (workers + 1) / 2
    gradients = torch.cat([gradient for _, gradient in world["gather"]])
    assert gradients.tolist() == [[of_all * (k + 1)] * 2 for k in range(ROWS)]


@every_way
def test_a_sum_over_workers_has_the_gradient_of_all_uses(world, workers, shares):
    """Of (sum of squares)^2 by row k: 4 k (0 + 1 + 4 + ... + 121) = 4 k 506, each worker a W-th of the objective."""
    assert [total for total, _ in world["summed"]] == [506.0] * workers
    gradients = torch.cat([gradient for _, gradient in world["summed"]])
    assert gradients.tolist() == pytest.approx([4 * k * 506 for k in range(ROWS)], rel=1e-12)


@every_way
def test_gathering_leaves_the_gradient_of_its_neighbors_alone(world, workers, shares):
    """d/dx (x^2 + 3 x) at 0 is 3: for the rows from each of W workers, for what is added to them once."""
    for own, added in world["neighbor"]:
        assert own.flatten().tolist() == [3.0 * workers] * len(own)
        assert added.flatten().tolist() == [3.0] * ROWS


@every_way
def test_a_global_mean_averaged_over_workers_is_the_mean_of_all_terms(world, workers, shares):
    # The mean of 0, 1, ..., 11 is 5.5, however they are shared out; the mean of means is not.
    for mean, gradient in world["means"]:
        assert (mean, gradient) == (pytest.approx(5.5, abs=1e-12), pytest.approx(5.5, abs=1e-12))


@every_way
def test_each_worker_knows_its_rank_and_sums_leave_their_input_alone(world, workers, shares):
    total = workers * (workers + 1) / 2
    assert world["facts"] == [(rank, workers, rank + 1.0, total) for rank in range(workers)]


def test_without_a_process_group_everything_is_the_identity():
    rows, module = torch.ones(3, 2, requires_grad=True), torch.nn.Linear(2, 2)
    assert (collectives.rank(), collectives.world_size()) == (0, 1)
    assert collectives.all_gather(rows) is rows
    module(rows[:, :2]).sum().backward()
    gradient = module.weight.grad.clone()
    collectives.average_gradients(module.parameters())
    assert module.weight.grad.equal(gradient)
    assert collectives.all_sum(rows) is rows
    assert collectives.all_reduce_sum(rows).equal(rows) and not collectives.all_reduce_sum(rows).requires_grad
    assert collectives.average(rows).equal(rows)
    assert collectives.global_mean(torch.tensor(6.0), torch.tensor(4.0)).item() == 1.5
    assert collectives.global_mean(torch.tensor(0.0), torch.tensor(0.0)).item() == 0.0
    collectives.barrier()
    assert gather((3,))[1].tolist() == [[1, 1], [2, 2], [3, 3]]
    assert neighbor((2,))[1].tolist() == [[3], [3]]
    assert means((12,)) == (5.5, 5.5)


@pytest.fixture(scope="module")
def alone(names):
    """Each loss and method trained by this process alone, with torch's own batch norm."""
    return {name: components.train(name, (ROWS,)) for name in names}


@every_way
@every_name
def test_every_loss_and_method_learns_what_a_single_process_learns(world, alone, name):
    for found in world[name]:
        for ours, theirs in zip(found, alone[name], strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)


@every_name
def test_every_loss_and_method_moves_far_enough_for_a_comparison(alone, name):
    losses, gradients, weights = alone[name]
    begun = components.case_of(name)[0].double().state_dict()
    moved = {key: float((weights[key] - value).abs().max()) for key, value in begun.items() if key in gradients}
    # A bias before a batch norm moves nothing and is not moved.
    assert sum(distance > 1e-3 for distance in moved.values()) >= len(moved) / 2, moved
    assert max(losses) - min(losses) > 1e-3
