"""Geometry of the test features on the sphere, which shows collapse without labels."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from cl_core.evaluation.bootstrap import mean_score, resample_counts, unbiased_score
from cl_core.evaluation.embedding_metrics import (
    exponential_entropy,
    feature_std,
    gaussian_kernel,
    log_mean_of_pairs,
    squared_distances,
)
from cl_core.evaluation.protocols import Evaluation, Features, Outcome
from cl_core.registry import EVALUATIONS


@EVALUATIONS.register("geometry")
class Geometry(Evaluation):
    """Alignment (where there are views), uniformity, effective rank and spread of the test features.

    The effective rank is that of the features as they are, neither centered nor normalized; the others are of unit
    features. For source and range of each see `cl_core.evaluation.embedding_metrics`.
    """

    needs_labels: ClassVar[bool] = False
    reads_training: ClassVar[bool] = False

    samples: int = Field(4096, ge=2, le=16_384)
    """Maximum number of test samples, those with the smallest content hashes. Memory grows with its square."""

    @property
    def predictors(self) -> tuple[str, ...]:
        """Geometry predicts no classes."""
        return ()

    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """Measure the test features; training features, labels and classes are not used."""
        chosen = np.argsort(test.sample_ids, kind="stable")[: self.samples]
        embeddings = torch.from_numpy(test.embeddings.take(chosen))

        kernel = gaussian_kernel(embeddings)
        uniformities, ranks, stds = _uniformities(kernel), _ranks(embeddings), _stds(embeddings)
        values = {
            "geometry.uniformity": log_mean_of_pairs(kernel).item(),
            "geometry.effective_rank": ranks(torch.ones(1, len(embeddings))).item(),
            "geometry.feature_std": feature_std(embeddings).item(),
        }
        blocks = [
            torch.stack([statistic(torch.from_numpy(counts)) for statistic in (uniformities, ranks, stds)])
            for counts in resample_counts(len(embeddings), resamples=resamples, seed=seed)
        ]
        resampled = torch.cat(blocks, dim=1).double().numpy()
        scores = {
            name: unbiased_score(value, of_resamples)
            for (name, value), of_resamples in zip(values.items(), resampled, strict=True)
        }
        if test.views is not None:
            distances = squared_distances(*map(torch.tensor, test.views))
            scores["geometry.alignment"] = mean_score(distances.numpy(), resamples=resamples, seed=seed)
        return Outcome(scores=scores)


def _uniformities(kernel: Tensor) -> Callable[[Tensor], Tensor]:
    """Return uniformity as a function of (B, N) counts; a sample drawn twice is not a pair of samples."""

    def statistic(counts: Tensor) -> Tensor:
        pairs = counts.sum(1).square() - counts.square().sum(1)
        return (((counts @ kernel) * counts).sum(1) / pairs).log()

    return statistic


def _ranks(embeddings: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the effective rank as a function of (B, N) counts, with fixed singular vectors.

    To first order a singular value moves by the energy along its own vector, and the turning of the vectors does not
    count; following it would cost a decomposition per resample.
    """
    exact = embeddings.double()
    vectors = torch.linalg.eigh(exact.T @ exact).eigenvectors
    energies = (exact @ vectors).square().float()
    return lambda counts: exponential_entropy((counts @ energies).sqrt())


def _stds(embeddings: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the spread of unit features as a function of (B, N) counts."""
    unit = F.normalize(embeddings.float(), dim=1)
    # Centered before squaring: a mean that is large beside the spread would swallow it in float32.
    centered = unit - unit.mean(0)

    def statistic(counts: Tensor) -> Tensor:
        samples = counts.sum(1, keepdim=True)
        variances = counts @ centered.square() / samples - (counts @ centered / samples).square()
        # Drawing with replacement loses 1 / N of the variance on average.
        return (variances.clamp(min=0) * samples / (samples - 1)).sqrt().mean(1)

    return statistic
