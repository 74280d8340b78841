"""InfoNCE against its equation, against another library, and against what it must not depend on."""

import math

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

from cl_core.errors import SpecError
from cl_core.losses import LossSum, Relation, RowIds, relation_within
from cl_core.losses.info_nce import InfoNCE, info_nce
from cl_core.registry import LOSSES


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_views(samples):
    """Relation of rows a0, a1, ..., b0, b1, ...: row i and row i + samples are views of one sample."""
    return relation_within(torch.arange(samples).repeat(2), views=2)


def by_the_equation(anchors, candidates, relation, temperature):
    """Eq. 1 of arXiv:2002.05709, one pair at a time; the sum and the number of terms."""
    of, among = relation.anchors, relation.candidates
    total, count = 0.0, 0
    for i, anchor in enumerate(anchors):
        exponentials, positives = {}, []
        for k, candidate in enumerate(candidates):
            if of.samples[i] == among.samples[k] and of.views[i] == among.views[k]:
                continue
            cosine = float(anchor @ candidate) / math.sqrt(float(anchor @ anchor) * float(candidate @ candidate))
            exponentials[k] = math.exp(cosine / temperature)
            if of.groups[i] == among.groups[k]:
                positives.append(k)
        for k in positives:
            total -= math.log(exponentials[k] / sum(exponentials.values()))
            count += 1
    return total, count


def assert_is(loss: LossSum, expected, tolerance=1e-12):
    total, count = expected
    assert loss.count.item() == count
    assert loss.total.item() == pytest.approx(total, rel=tolerance)


@pytest.mark.parametrize("samples", [2, 4, 128])
def test_identical_embeddings_cost_log_of_the_number_of_other_rows(samples):
    embeddings = torch.ones(2 * samples, 3)
    loss = InfoNCE(temperature=0.5)(embeddings, embeddings, two_views(samples))
    assert loss.mean.item() == pytest.approx(math.log(2 * samples - 1), rel=1e-6)
    assert loss.count.item() == 2 * samples


def test_opposite_samples_cost_what_two_lines_of_arithmetic_say():
    # Views coincide, the two samples are opposite: -log(e^(1/T) / (e^(1/T) + 2 e^(-1/T))) with T = 0.5.
    embeddings = torch.tensor([[1, 0], [-1, 0]], dtype=torch.float64).repeat(2, 1)
    loss = InfoNCE(temperature=0.5)(embeddings, embeddings, two_views(2))
    assert loss.mean.item() == pytest.approx(math.log1p(2 * math.exp(-4)), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0, 100.0])
def test_two_views_agree_with_the_equation(temperature):
    embeddings, relation = rows(10, 4), two_views(5)
    loss = info_nce(embeddings, embeddings, relation, temperature=temperature, tile=0)
    assert_is(loss, by_the_equation(embeddings, embeddings, relation, temperature))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("samples", [2, 17])
def test_two_views_agree_with_pytorch_metric_learning(samples, temperature):
    first, second = rows(samples, 6, seed=1).requires_grad_(), rows(samples, 6, seed=2).requires_grad_()
    theirs = SelfSupervisedLoss(NTXentLoss(temperature))(first, second)
    both = torch.cat([first, second])
    ours = info_nce(both, both, two_views(samples), temperature=temperature, tile=0).mean
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    for mine, reference in zip(
        torch.autograd.grad(ours, [first, second]), torch.autograd.grad(theirs, [first, second]), strict=True
    ):
        torch.testing.assert_close(mine, reference, atol=1e-10, rtol=0)


def test_the_gradient_is_that_of_the_value():
    anchors, candidates = rows(4, 3).requires_grad_(), rows(8, 3, seed=1).requires_grad_()
    relation = Relation(
        RowIds(torch.arange(4), torch.zeros(4, dtype=torch.int64), torch.arange(4)),
        RowIds(torch.arange(8) % 4, torch.arange(8) // 4, torch.arange(8) % 4),
    )
    assert torch.autograd.gradcheck(
        lambda a, c: info_nce(a, c, relation, temperature=0.3, tile=0).total, (anchors, candidates)
    )
    both = rows(6, 3, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: info_nce(z, z, two_views(3), temperature=0.3, tile=0).total, (both,))


@pytest.mark.parametrize("groups", [[0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 0, 0]])
def test_each_of_several_positives_is_a_term_of_its_own(groups):
    embeddings, relation = rows(6, 4), relation_within(torch.tensor(groups))
    loss = info_nce(embeddings, embeddings, relation, temperature=0.2, tile=0)
    assert_is(loss, by_the_equation(embeddings, embeddings, relation, 0.2))
    assert loss.count.item() == sum(groups.count(group) - 1 for group in groups)


def test_anchors_without_positives_add_nothing_and_are_not_counted():
    # Group 2 has one member: it is everybody's negative and nobody's positive.
    embeddings, relation = rows(5, 4), relation_within(torch.tensor([0, 0, 1, 1, 2]))
    loss = info_nce(embeddings, embeddings, relation, temperature=0.2, tile=0)
    assert_is(loss, by_the_equation(embeddings, embeddings, relation, 0.2))
    assert loss.count.item() == 4
    first_four = RowIds(
        *(ids[:4] for ids in (relation.anchors.samples, relation.anchors.views, relation.anchors.groups))
    )
    without = info_nce(embeddings[:4], embeddings, Relation(first_four, relation.candidates), temperature=0.2, tile=0)
    assert loss.total.item() == pytest.approx(without.total.item(), rel=1e-12)


def test_no_positives_at_all_give_zero_and_a_gradient_of_zeros():
    embeddings = rows(4, 3).requires_grad_()
    loss = info_nce(embeddings, embeddings, relation_within(torch.arange(4)), temperature=0.2, tile=0)
    assert (loss.total.item(), loss.count.item(), loss.mean.item()) == (0.0, 0.0, 0.0)
    loss.mean.backward()
    assert torch.equal(embeddings.grad, torch.zeros(4, 3, dtype=torch.float64))


def test_candidates_without_the_anchors_cost_log_of_their_number_when_all_coincide():
    """Queries against keys and a queue: nobody is a candidate of itself."""
    queries = RowIds(torch.arange(3), torch.zeros(3, dtype=torch.int64), torch.arange(3))
    keys_and_queue = RowIds(torch.arange(11), torch.ones(11, dtype=torch.int64), torch.arange(11))
    relation = Relation(queries, keys_and_queue)
    loss = InfoNCE(temperature=0.07)(torch.ones(3, 5), torch.ones(11, 5), relation)
    assert loss.mean.item() == pytest.approx(math.log(11), rel=1e-6)
    assert loss.count.item() == 3
    anchors, candidates = rows(3, 5), rows(11, 5, seed=1)
    # MoCo's Eq. 1: cross-entropy with the key at position 0 of each query's logits.
    logits = F.normalize(anchors, dim=1) @ F.normalize(candidates, dim=1).T / 0.07
    expected = F.cross_entropy(logits, torch.arange(3), reduction="sum").item()
    assert_is(InfoNCE(temperature=0.07)(anchors, candidates, relation), (expected, 3))


@pytest.fixture
def mixed():
    """Anchors that are some of the candidates, in groups of different sizes."""
    candidates = rows(12, 4)
    ids = RowIds(torch.arange(12) % 6, torch.arange(12) // 6, torch.tensor([0, 0, 1, 2, 3, 3] * 2))
    chosen = torch.tensor([7, 0, 3, 11])
    anchors = RowIds(ids.samples[chosen], ids.views[chosen], ids.groups[chosen])
    return candidates[chosen], candidates, Relation(anchors, ids)


def test_the_order_of_rows_does_not_matter(mixed):
    anchors, candidates, relation = mixed
    expected = by_the_equation(anchors, candidates, relation, 0.2)
    assert_is(info_nce(anchors, candidates, relation, temperature=0.2, tile=0), expected)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        first, second = torch.randperm(4, generator=generator), torch.randperm(12, generator=generator)
        of, among = relation.anchors, relation.candidates
        shuffled = Relation(
            RowIds(of.samples[first], of.views[first], of.groups[first]),
            RowIds(among.samples[second], among.views[second], among.groups[second]),
        )
        assert_is(info_nce(anchors[first], candidates[second], shuffled, temperature=0.2, tile=0), expected)


def test_the_length_of_rows_does_not_matter(mixed):
    anchors, candidates, relation = mixed
    lengths = torch.logspace(-3, 3, 12, dtype=torch.float64)[:, None]
    loss = info_nce(7 * anchors, lengths * candidates, relation, temperature=0.2, tile=0)
    assert_is(loss, by_the_equation(anchors, candidates, relation, 0.2))


def test_the_values_of_ids_do_not_matter(mixed):
    anchors, candidates, relation = mixed

    def renamed(ids):
        # Ids of the whole range of 64 bits, as hashes of the content are.
        return RowIds(-(2**63) + 1000 * ids.samples, 5 - ids.views, 2**63 - 1 - ids.groups**3)

    loss = info_nce(
        anchors, candidates, Relation(renamed(relation.anchors), renamed(relation.candidates)), temperature=0.2, tile=0
    )
    assert_is(loss, by_the_equation(anchors, candidates, relation, 0.2))


def test_a_row_of_zeros_has_a_finite_loss_and_gradient():
    embeddings = rows(4, 3)
    embeddings[1] = 0
    embeddings.requires_grad_()
    loss = InfoNCE(temperature=0.1)(embeddings, embeddings, two_views(2)).mean
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_float32_is_right_at_temperature_001(sign):
    """Logits of up to 100 overflow a naive exponential, and saturate where the maximum is not subtracted."""
    first = rows(6, 8)
    embeddings = torch.cat([first, sign * first + 0.1 * rows(6, 8, seed=1)])
    expected, count = by_the_equation(embeddings, embeddings, two_views(6), 0.01)
    half = embeddings.float().requires_grad_()
    loss = InfoNCE(temperature=0.01)(half, half, two_views(6))
    loss.mean.backward()
    assert loss.total.item() == pytest.approx(expected, rel=1e-4, abs=1e-4) and loss.count.item() == count
    assert torch.isfinite(half.grad).all()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_computed_in_float32(dtype, autocast):
    """bfloat16 has 8 bits: similarities computed in it are off by 0.004, logits at T = 0.05 by 0.08."""
    embeddings = rows(64, 16).to(dtype)
    expected, count = by_the_equation(embeddings.double(), embeddings.double(), two_views(32), 0.05)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = InfoNCE(temperature=0.05)(embeddings, embeddings, two_views(32))
    assert loss.total.dtype == loss.count.dtype == torch.float32
    assert loss.total.item() == pytest.approx(expected, rel=1e-6) and loss.count.item() == count


def test_float64_stays_float64():
    embeddings = rows(4, 3)
    assert InfoNCE()(embeddings, embeddings, two_views(2)).total.dtype == torch.float64


@pytest.mark.parametrize(
    ("anchors", "candidates", "message"),
    [
        ((4,), (4, 3), r"wanted anchors \(A, D\) and candidates \(K, D\) with one D; got \(4,\) and \(4, 3\)"),
        ((4, 3), (4, 3, 1), r"got \(4, 3\) and \(4, 3, 1\)"),
        ((4, 3), (4, 2), r"got \(4, 3\) and \(4, 2\)"),
        ((3, 2), (4, 2), r"wanted one id for each of the 3 anchors; got samples \(4,\), views"),
        ((4, 2), (5, 2), r"wanted one id for each of the 5 candidates; got samples \(4,\), views"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_what_came(anchors, candidates, message):
    with pytest.raises(ValueError, match=message):
        InfoNCE()(torch.ones(anchors), torch.ones(candidates), two_views(2))


@pytest.mark.parametrize("field", ["samples", "views", "groups"])
def test_a_missing_id_is_refused_and_named(field):
    ids = {name: torch.zeros(4, dtype=torch.int64) for name in ("samples", "views", "groups")}
    whole, short = RowIds(**ids), RowIds(**{**ids, field: ids[field][:3]})
    with pytest.raises(ValueError, match=rf"wanted one id for each of the 4 anchors; got .*{field} \(3,\)"):
        InfoNCE()(torch.ones(4, 2), torch.ones(4, 2), Relation(short, whole))


@pytest.mark.parametrize("temperature", [0, -0.1, 100.1, math.nan])
def test_a_temperature_out_of_range_is_refused_with_its_path(temperature):
    with pytest.raises(SpecError, match=r"^training\.loss_options\.temperature: .*; got (0|-0\.1|100\.1|nan)$"):
        LOSSES.build("info_nce", {"temperature": temperature}, field="training.loss")
