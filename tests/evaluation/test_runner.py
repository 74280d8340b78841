"""An assessment is computed once; whoever is handed its reference reads it, and embeds nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from small_training import JobOf

from cl_core.errors import SpecError
from cl_core.evaluation import representations
from cl_core.evaluation.representations import Representation
from cl_core.evaluation.runner import Assessment, assess, features_of_test, gain, read_assessment
from cl_core.specs import EvaluationSpec
from cl_core.training.job import TrainingJob

KNN = EvaluationSpec(protocols=["knn"], resamples=100)

Assess = Callable[[Representation], Assessment]


@pytest.fixture
def job(job_of: JobOf) -> TrainingJob:
    return job_of()


@pytest.fixture
def assessed(tmp_path: Path) -> Assess:
    def make(representation: Representation) -> Assessment:
        return assess(representation, KNN, embeddings=tmp_path / "embeddings", evaluations=tmp_path / "evaluations")

    return make


def never_embeds(representation: Representation) -> Representation:
    def refuse(images: np.ndarray | torch.Tensor) -> NoReturn:
        raise AssertionError("what is kept must not be computed again")

    return replace(representation, embed=refuse, embed_processed=refuse)


def test_it_is_cached_by_its_own_artifact_whatever_other_runs_write_beside_it(
    job: TrainingJob, assessed: Assess, tmp_path: Path
) -> None:
    pixels = representations.baseline(job)
    first = assessed(pixels)
    assert not first.cached
    (tmp_path / "evaluations" / ("f" * 64)).mkdir()
    again = assessed(never_embeds(pixels))
    assert again.cached
    assert (again.ref, again.report) == (first.ref, first.report)


def test_a_reference_is_read_as_what_it_was_made_from(job: TrainingJob, assessed: Assess) -> None:
    first = assessed(representations.baseline(job))
    read = read_assessment(first.ref)
    assert read.report == first.report
    np.testing.assert_array_equal(read.predictions["knn_20"], first.predictions["knn_20"])
    same = gain(read, first, "knn_20.accuracy", KNN)
    assert same is not None and (same.value, same.low, same.high) == (0, 0, 0)


def test_features_of_the_training_split_are_kept_only_where_a_protocol_reads_them(
    job: TrainingJob, tmp_path: Path
) -> None:
    pixels = representations.baseline(job)

    def kept_after(*protocols: str) -> list[str]:
        spec = EvaluationSpec(protocols=list(protocols), resamples=100)
        assess(pixels, spec, embeddings=tmp_path / "embeddings", evaluations=tmp_path / "evaluations")
        return sorted(path.name for path in (tmp_path / "embeddings").glob("*/*.features.npy"))

    of_test = ["test.features.npy", "view-0.features.npy", "view-1.features.npy"]
    assert kept_after("geometry", "view_retrieval", "retrieval") == of_test
    assert kept_after("geometry", "knn") == sorted([*of_test, "train.features.npy"])


def test_a_gain_counts_labeled_samples_only_and_without_any_there_is_none(job: TrainingJob, assessed: Assess) -> None:
    pixels = assessed(representations.baseline(job))
    assert pixels.labels is not None
    right = replace(pixels, predictions={"knn_20": pixels.labels})
    wrong = replace(pixels, predictions={"knn_20": np.full_like(pixels.labels, -2)})
    half = np.where(np.arange(len(pixels.labels)) % 2, pixels.labels, -1)
    difference = gain(replace(right, labels=half), replace(wrong, labels=half), "knn_20.accuracy", KNN)
    assert difference is not None and difference.value == 1
    nothing = replace(pixels, labels=np.full_like(half, -1), predictions={})
    assert gain(nothing, nothing, "knn_20.accuracy", KNN) is None


def test_a_score_of_each_sample_decides_also_where_there_are_no_labels(
    job: TrainingJob, assessed: Assess, tmp_path: Path
) -> None:
    spec = EvaluationSpec(protocols=["view_retrieval", "retrieval"], resamples=200)
    folders = {"embeddings": tmp_path / "e", "evaluations": tmp_path / "v"}
    pixels, untrained = (
        assess(representation, spec, **folders)
        for representation in (representations.baseline(job), representations.untrained(job))
    )
    for score in ("view_retrieval.recall_at_1", "retrieval.mean_average_precision"):
        first, second = (read_assessment(one.ref).per_sample[score] for one in (untrained, pixels))
        found = gain(replace(untrained, labels=None), replace(pixels, labels=None), score, spec)
        assert found is not None
        assert found.value == pytest.approx(np.nanmean(first - second), abs=1e-12)
        assert untrained.report.scores[score].value == pytest.approx(np.nanmean(first))
    with pytest.raises(SpecError, match=r"choose one of: view_retrieval.recall_at_1, .*mean_average_precision$"):
        gain(untrained, pixels, "linear_probe.accuracy", spec)


def test_a_report_takes_the_kept_features_and_computes_lost_ones(
    job: TrainingJob, assessed: Assess, tmp_path: Path
) -> None:
    pixels = representations.baseline(job)
    assessed(pixels)

    def features(representation: Representation, folder: str) -> np.ndarray:
        return features_of_test(representation, embeddings=tmp_path / folder)

    kept = features(never_embeds(pixels), "embeddings")
    assert kept.shape == (job.snapshot.rows["test"], 16 * 16 * job.arrays[0].shape[-1])
    np.testing.assert_array_equal(features(pixels, "elsewhere"), kept)


def test_an_encoder_is_built_and_loaded_only_when_something_is_embedded(job: TrainingJob, tmp_path: Path) -> None:
    trained = representations.trained(job, tmp_path / "no-checkpoint")
    assert (trained.name, trained.training) == ("trained", job.digest)

    def load() -> None:
        raise AssertionError("the model must not be fetched before it is needed")

    assert representations.registered(load, "0" * 64, job).name == "champion"
