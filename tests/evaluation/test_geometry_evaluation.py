from dataclasses import replace

import numpy as np
import pytest
import torch

from cl_core.columns import Column
from cl_core.evaluation.embedding_metrics import alignment, effective_rank, feature_std, uniformity
from cl_core.evaluation.protocols import Features
from cl_core.evaluation.protocols.geometry import Geometry

FIGURES = {
    "geometry.uniformity": uniformity,
    "geometry.effective_rank": effective_rank,
    "geometry.feature_std": feature_std,
}
SPREADS = np.array([3, 2, 1, 0.5, 0.2])


def drawn(samples: int, seed: int) -> Features:
    """Unlabeled features of uneven spread around a mean that is not zero."""
    generator = np.random.default_rng(seed)
    embeddings = (0.5 + SPREADS * generator.normal(size=(samples, 5))).astype(np.float32)
    return Features(Column(embeddings), None, generator.integers(256, size=(samples, 32), dtype=np.uint8))


def measured(test: Features, **options: int):
    return Geometry(**options)(drawn(2, seed=9), test, classes=[], resamples=1000, seed=0).scores


def test_unlabeled_features_have_their_figures():
    test = drawn(400, seed=0)
    scores = measured(test)
    assert not Geometry.needs_labels
    assert scores.keys() == FIGURES.keys()
    for name, figure in FIGURES.items():
        assert scores[name].value == pytest.approx(figure(torch.from_numpy(test.embeddings.values)).item(), rel=1e-5)
        assert scores[name].low < scores[name].value < scores[name].high


@pytest.mark.parametrize("name", FIGURES)
def test_intervals_are_as_wide_as_figures_vary_between_samples(name):
    fresh = [FIGURES[name](torch.from_numpy(drawn(400, seed).embeddings.values)).item() for seed in range(400)]
    widths = [score.high - score.low for score in (measured(drawn(400, seed))[name] for seed in range(5))]
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(fresh), rel=0.2)


def test_the_interval_of_the_effective_rank_is_that_of_decomposing_every_resample():
    test = drawn(400, seed=0)
    generator = np.random.default_rng(0)
    ranks = [
        effective_rank(torch.from_numpy(test.embeddings.take(generator.integers(400, size=400)))).item()
        for _ in range(2000)
    ]
    low, high = np.quantile(ranks, [0.025, 0.975])
    score = measured(test)["geometry.effective_rank"]
    assert [score.low, score.high] == pytest.approx([low, high], abs=0.1 * (high - low))


def test_alignment_is_measured_where_there_are_views():
    test = drawn(400, seed=0)
    views = (test.embeddings.values[:200], test.embeddings.values[200:])
    test.embeddings.values.flags.writeable = False
    score = measured(replace(test, views=views))["geometry.alignment"]
    assert score.value == pytest.approx(alignment(*map(torch.from_numpy, views)).item(), rel=1e-5)
    assert score.low < score.value < score.high


def test_collapsed_features_show_it():
    test = replace(drawn(50, seed=0), embeddings=Column(np.full((50, 5), 2, dtype=np.float32)))
    scores = measured(test)
    values = [scores[name].value for name in FIGURES]
    assert values == pytest.approx([0, 1, 0], abs=1e-3)


def test_at_most_so_many_samples_are_measured_chosen_by_content():
    test = drawn(400, seed=0)
    shuffle = np.random.default_rng(0).permutation(400)
    shuffled = replace(test, embeddings=test.embeddings.select(shuffle), ids=test.ids[shuffle])
    first, second = measured(test, samples=100), measured(shuffled, samples=100)
    assert first == second
    least = np.argsort(test.sample_ids)[:100]
    assert first["geometry.uniformity"].value == uniformity(torch.from_numpy(test.embeddings.take(least))).item()
