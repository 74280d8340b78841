"""What the tests of all pair losses share: rows, relations, one pair at a time, and what every loss must keep.

A loss is tested against its `equation`: a function of anchors, candidates and relation that gives the sum and the
number of its terms as Python numbers, written as a double loop over `pairs_of` in float64.
"""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from cl_core.losses import LossSum, PairLoss, Relation, RowIds, relation_within

Equation = Callable[[Tensor, Tensor, Relation], tuple[float, float]]
Case = tuple[Tensor, Tensor, Relation]
Check = Callable[[PairLoss, Equation], None]


def rows(*shape: int, seed: int = 0) -> Tensor:
    """Gaussian rows in float64, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_views(samples: int) -> Relation:
    """Rows a0, a1, ..., b0, b1, ...: row i and row i + samples are views of one sample."""
    return relation_within(torch.arange(samples).repeat(2), views=2)


def queries_and_keys(queries: int, keys: int) -> Relation:
    """Query i's only positive is key i; the keys beyond are a queue. No sample is a candidate of itself."""
    own, among = torch.arange(queries), torch.arange(keys)
    return Relation(RowIds(own, torch.zeros_like(own), own), RowIds(among, torch.ones_like(among), among))


def chosen(ids: RowIds, which: Tensor) -> RowIds:
    """Some of the rows, in that order."""
    return RowIds(ids.samples[which], ids.views[which], ids.groups[which])


def cases() -> dict[str, Case]:
    """Every kind of relation that a method makes, and what it may come down to in a small batch."""
    ten, six, twelve = rows(10, 4), rows(6, 4), rows(12, 4)
    ids = RowIds(torch.arange(12) % 6, torch.arange(12) // 6, torch.tensor([0, 0, 1, 2, 3, 3] * 2))
    some = torch.tensor([7, 0, 3, 11])
    of_this_worker = torch.tensor([4, 1, 3])
    batch_and_queue = torch.tensor([0, 1, 2, 3, 4, 1, 7, 8, 4, 9, 6])  # Samples 1 and 4 have been before.
    beside_a_queue = Relation(
        RowIds(of_this_worker, torch.zeros_like(of_this_worker), of_this_worker),
        RowIds(batch_and_queue, torch.ones_like(batch_and_queue), batch_and_queue),
        queued=torch.arange(11) >= 5,
    )
    return {
        "two views": (ten, ten, two_views(5)),
        "classes, one of them with one row": (six, six, relation_within(torch.tensor([0, 0, 0, 1, 1, 2]))),
        "one class": (six, six, relation_within(torch.zeros(6, dtype=torch.int64))),
        "nobody has a positive": (six, six, relation_within(torch.arange(6))),
        "keys and a queue": (rows(3, 4), rows(11, 4, seed=1), queries_and_keys(3, 11)),
        "positives of the batch, negatives of a queue": (rows(3, 4), rows(11, 4, seed=1), beside_a_queue),
        "some of the candidates as anchors": (twelve[some], twelve, Relation(chosen(ids, some), ids)),
        "a worker without rows": (twelve[:0], twelve, Relation(chosen(ids, some[:0]), ids)),
    }


def pairs_of(relation: Relation) -> Iterator[tuple[int, list[int], list[int]]]:
    """Each anchor with its positives and its negatives, by position, from the ids one pair at a time.

    Beside a queue positives are of the batch and negatives of the queue.
    """
    of = list(zip(*(ids.tolist() for ids in vars(relation.anchors).values()), strict=True))
    among = list(zip(*(ids.tolist() for ids in vars(relation.candidates).values()), strict=True))
    queued = None if relation.queued is None else relation.queued.tolist()
    for i, (sample, view, group) in enumerate(of):
        others = [k for k, (sample_k, view_k, _) in enumerate(among) if (sample_k, view_k) != (sample, view)]
        positives = [k for k in others if among[k][2] == group and not (queued and queued[k])]
        negatives = [k for k in others if among[k][2] != group and (not queued or queued[k])]
        yield i, positives, negatives


def dot(first: Tensor, second: Tensor) -> float:
    """Of two rows."""
    return math.fsum(a * b for a, b in zip(first.tolist(), second.tolist(), strict=True))


def cosine(first: Tensor, second: Tensor) -> float:
    """Of two rows."""
    return dot(first, second) / math.sqrt(dot(first, first) * dot(second, second))


def log_sum_exp(exponents: list[float]) -> float:
    """Minus infinity of nothing."""
    if not exponents:
        return -math.inf
    most = max(exponents)
    return most + math.log(math.fsum(math.exp(exponent - most) for exponent in exponents))


def assert_is(loss: LossSum, expected: tuple[float, float], tolerance: float = 1e-12) -> None:
    """The sum and the number of terms are the expected ones."""
    total, count = expected
    assert loss.count.item() == count
    assert loss.total.item() == pytest.approx(total, rel=tolerance, abs=tolerance)


def learned(loss: PairLoss) -> dict[str, Tensor]:
    """What the loss learns, at its start."""
    return {name: torch.tensor(start, dtype=torch.float64) for name, start in loss.learned_start().items()}


# --- what every pair loss must keep: functions of a loss and its equation, whatever is drawn


def agrees_with_its_equation(loss: PairLoss, equation: Equation) -> None:
    """In value and number of terms, for every kind of relation."""
    for case in cases().values():
        assert_is(loss(*case, learned(loss)), equation(*case))


def does_not_depend_on_the_order_of_rows(loss: PairLoss, equation: Equation) -> None:
    """Positions say nothing."""
    for anchors, candidates, relation in cases().values():
        expected = equation(anchors, candidates, relation)
        generator = torch.Generator().manual_seed(len(anchors))
        first = torch.randperm(len(anchors), generator=generator)
        second = torch.randperm(len(candidates), generator=generator)
        queued = None if relation.queued is None else relation.queued[second]
        shuffled = Relation(chosen(relation.anchors, first), chosen(relation.candidates, second), queued)
        assert_is(loss(anchors[first], candidates[second], shuffled, learned(loss)), expected)


def does_not_depend_on_the_values_of_ids(loss: PairLoss, equation: Equation) -> None:
    """Ids of the whole range of 64 bits, as hashes of the content are, mean no more than small ones."""

    def renamed(ids: RowIds) -> RowIds:
        return RowIds(-(2**63) + 1000 * ids.samples, 5 - ids.views, 2**63 - 1 - ids.groups**3)

    for anchors, candidates, relation in cases().values():
        other = Relation(renamed(relation.anchors), renamed(relation.candidates), relation.queued)
        assert_is(loss(anchors, candidates, other, learned(loss)), equation(anchors, candidates, relation))


def _has_the_gradient_of_its_value(case: str) -> Check:
    """One case for each check: all together take seconds."""

    def has_the_gradient_of_its_value(loss: PairLoss, equation: Equation) -> None:
        """By finite differences, for anchors and candidates apart and for one set that is both."""
        del equation
        values = learned(loss)
        parameters = tuple(value.requires_grad_() for value in values.values())
        anchors, candidates, relation = cases()[case]

        def total(a: Tensor, c: Tensor, *now: Tensor) -> Tensor:
            return loss(a, c, relation, dict(zip(values, now, strict=True))).total

        apart = (anchors.clone().requires_grad_(), candidates.clone().requires_grad_())
        assert torch.autograd.gradcheck(total, (*apart, *parameters))
        if anchors is candidates:
            both = anchors.clone().requires_grad_()
            assert torch.autograd.gradcheck(lambda z, *now: total(z, z, *now), (both, *parameters))

    has_the_gradient_of_its_value.__name__ += f" of {case}"
    return has_the_gradient_of_its_value


HAS_THE_GRADIENT_OF_ITS_VALUE = tuple(_has_the_gradient_of_its_value(case) for case in cases())


def leaves_a_worker_without_rows_a_gradient_of_zeros(loss: PairLoss, equation: Equation) -> None:
    """It adds nothing, and its backward reaches the candidates: others wait for it in a collective."""
    del equation
    anchors, candidates, relation = cases()["a worker without rows"]
    anchors, candidates = anchors.clone().requires_grad_(), candidates.clone().requires_grad_()
    result = loss(anchors, candidates, relation, learned(loss))
    assert (result.total.item(), result.count.item()) == (0.0, 0.0)
    result.total.backward()
    assert anchors.grad is not None and anchors.grad.shape == anchors.shape
    assert torch.equal(candidates.grad, torch.zeros_like(candidates))


def computes_half_precision_in_float32(loss: PairLoss, equation: Equation) -> None:
    """bfloat16 has 8 bits: the loss of rows that come in it is that of the rows, not of similarities in it."""
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        embeddings, relation = rows(32, 16).to(dtype).requires_grad_(), two_views(16)
        expected = equation(embeddings.detach().double(), embeddings.detach().double(), relation)
        values = {name: value.float() for name, value in learned(loss).items()}
        for autocast in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                result = loss(embeddings, embeddings, relation, values)
            assert result.total.dtype == result.count.dtype == torch.float32
            assert_is(result, expected, tolerance=2e-6)
        result.total.backward()
        assert embeddings.grad.dtype == dtype and torch.isfinite(embeddings.grad).all()


def keeps_float64(loss: PairLoss, equation: Equation) -> None:
    """What comes in float64 is computed in it, whatever surrounds it."""
    del equation
    embeddings = rows(8, 3)
    with torch.autocast("cpu", torch.bfloat16):
        result = loss(embeddings, embeddings, two_views(4), learned(loss))
    assert result.total.dtype == result.count.dtype == torch.float64


EVERY_LOSS = (
    agrees_with_its_equation,
    does_not_depend_on_the_order_of_rows,
    does_not_depend_on_the_values_of_ids,
    *HAS_THE_GRADIENT_OF_ITS_VALUE,
    leaves_a_worker_without_rows_a_gradient_of_zeros,
    computes_half_precision_in_float32,
    keeps_float64,
)
"""Use: `@pytest.mark.parametrize("keeps", EVERY_LOSS, ids=lambda check: check.__name__)`."""


def does_not_depend_on_the_length_of_rows(loss: PairLoss, equation: Equation) -> None:
    """For losses of unit rows."""
    for anchors, candidates, relation in cases().values():
        lengths = torch.logspace(-3, 3, len(candidates), dtype=torch.float64)[:, None]
        stretched = loss(7 * anchors, lengths * candidates, relation, learned(loss))
        assert_is(stretched, equation(anchors, candidates, relation))


def is_finite_where_a_row_is_zero(loss: PairLoss, equation: Equation) -> None:
    """For losses of unit rows: a row of zeros has no direction, and neither a value nor a gradient may suffer."""
    del equation
    embeddings = rows(8, 3)
    embeddings[1] = 0
    embeddings.requires_grad_()
    result = loss(embeddings, embeddings, two_views(4), learned(loss)).mean
    result.backward()
    assert torch.isfinite(result) and torch.isfinite(embeddings.grad).all()


EVERY_NORMALizED_LOSS = (*EVERY_LOSS, does_not_depend_on_the_length_of_rows, is_finite_where_a_row_is_zero)


# --- what losses that look at their pairs in tiles must keep besides


def does_not_depend_on_the_tile(loss: PairLoss, equation: Equation) -> None:
    """Neither value nor gradient: to 1e-12 in float64, to 1e-6 in float32."""
    del equation
    for anchors, candidates, relation in cases().values():
        for tile in (1, 2, 5):
            _assert_tiles_do_not_matter(loss, tile, anchors, candidates, relation)
    many, relation = rows(150, 8), relation_within(torch.arange(75).repeat(2) % 50, views=2)
    some = torch.arange(0, 150, 4)
    for tile in (32, 64, 149):
        _assert_tiles_do_not_matter(loss, tile, many, many, relation)
        _assert_tiles_do_not_matter(
            loss, tile, many[some], many, Relation(chosen(relation.anchors, some), relation.candidates)
        )


def _assert_tiles_do_not_matter(
    loss: PairLoss, tile: int, anchors: Tensor, candidates: Tensor, relation: Relation
) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        own = anchors.to(dtype, copy=True).requires_grad_()
        among = own if candidates is anchors else candidates.to(dtype, copy=True).requires_grad_()
        results = []
        for side in (0, tile):
            result = loss.model_copy(update={"tile": side})(own, among, relation)
            results.append([result.total, result.count, *torch.autograd.grad(result.total, {own, among})])
        for tiled, whole in zip(*results, strict=True):
            scale = max([1.0, *whole.abs().flatten().tolist()])
            torch.testing.assert_close(tiled, whole, atol=tolerance * scale, rtol=0)


EVERY_TILED_LOSS = (*EVERY_LOSS, does_not_depend_on_the_tile)
EVERY_SOFTMAX_LOSS = (*EVERY_NORMALizED_LOSS, does_not_depend_on_the_tile)


def is_right_at_temperature_001(loss: PairLoss, equation: Equation) -> None:
    """In float32: exp of logits of up to 100 overflows, and saturates where the maximum is not subtracted."""
    first = rows(6, 8)
    for sign in (1, -1):
        embeddings = torch.cat([first, sign * first + 0.1 * rows(6, 8, seed=1)]).float()
        expected = equation(embeddings.double(), embeddings.double(), two_views(6))
        for tile in (0, 5):
            own = embeddings.clone().requires_grad_()
            result = loss.model_copy(update={"tile": tile})(own, own, two_views(6))
            result.total.backward()
            assert_is(result, expected, tolerance=1e-4)
            assert torch.isfinite(own.grad).all()
