"""The queue of keys: which key is at which position after any number of them."""

from collections import deque

import pytest
import torch

from cl_core.methods._queues import KeyQueue


def queue(size, features=2, seed=0):
    torch.manual_seed(seed)
    return KeyQueue(size=size, features=features)


def keys_from(start, count):
    """Distinct keys: key n is (n, -n), of sample 100 + n."""
    numbers = torch.arange(start, start + count)
    return torch.stack([numbers, -numbers], dim=1).float(), 100 + numbers


def test_it_begins_with_random_unit_rows_of_no_sample():
    begun = queue(4096, 128)
    torch.testing.assert_close(begun.keys.norm(dim=1), torch.ones(4096))
    # Two random directions in D dimensions have a mean squared cosine of 1 / D.
    cosines = (begun.keys @ begun.keys.T)[~torch.eye(4096, dtype=torch.bool)]
    assert cosines.square().mean().item() == pytest.approx(1 / 128, rel=0.01)
    assert set(begun.samples.tolist()) == {-(2**63)} and begun.entered.item() == 0
    assert torch.equal(begun.keys, queue(4096, 128).keys)
    assert not torch.equal(begun.keys, queue(4096, 128, seed=1).keys)


@pytest.mark.parametrize("batch", [1, 3, 4, 7, 10, 11, 23])
@pytest.mark.parametrize("size", [1, 4, 10])
def test_it_holds_the_last_keys_with_their_samples_whatever_the_sizes(size, batch):
    ours, last = queue(size), deque(maxlen=size)
    for step in range(9):
        keys, samples = keys_from(step * batch, batch)
        ours.enter(keys, samples)
        last.extend(zip(keys.tolist(), samples.tolist(), strict=True))
        assert ours.entered.item() == (step + 1) * batch
        stand = list(zip(ours.keys.tolist(), ours.samples.tolist(), strict=True))
        if ours.entered >= size:
            oldest = ours.entered.item() % size
            assert stand[oldest:] + stand[:oldest] == list(last)
        else:
            assert stand[: ours.entered] == list(last)
            assert ours.samples[ours.entered :].eq(-(2**63)).all()


def test_entering_no_rows_changes_nothing():
    ours = queue(5)
    ours.enter(*keys_from(0, 3))
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    ours.enter(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_it_resumes_from_its_state_dict():
    first, second = queue(5), queue(5, seed=1)
    first.enter(*keys_from(0, 8))
    second.load_state_dict(first.state_dict())
    for ours in (first, second):
        ours.enter(*keys_from(8, 4))
    state = second.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.state_dict().items())
    assert sorted(second.samples.tolist()) == [107, 108, 109, 110, 111]


def test_what_enters_is_copied_and_without_gradient():
    ours = queue(4)
    keys, samples = keys_from(0, 4)
    keys.requires_grad_()
    ours.enter(keys, samples)
    with torch.no_grad():
        keys.zero_()
    assert ours.keys.tolist() == [[0, 0], [1, -1], [2, -2], [3, -3]] and not ours.keys.requires_grad
