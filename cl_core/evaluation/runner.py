"""Assessment: what the protocols measure on one representation of a snapshot, kept under a digest.

The trained encoder, the same encoder untrained, raw pixels and a champion are representations alike: a name, a digest
of what makes them, and a function from images to features.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cl_core import artifact_dir
from cl_core.code_digest import code_digest
from cl_core.data.cache import ImageSplit, load_split
from cl_core.errors import SpecError
from cl_core.evaluation.bootstrap import paired_gain
from cl_core.evaluation.features import SplitFeatures, cached_features
from cl_core.evaluation.protocols import Evaluation, Features, Outcome
from cl_core.hashing import digest_of
from cl_core.refs import RepresentationReport, Score, SnapshotRef
from cl_core.registry import EVALUATIONS
from cl_core.specs import EvaluationSpec
from cl_core.tables import read_arrays, write_arrays

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(N, H, W, C) uint8 images to (N, F) float32 features."""

EmbedViews = Callable[[ImageSplit], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""A split to the features of two views of each of its samples, (N, F) float32 each."""

# Alignment is a mean over pairs of views; so many samples settle its second decimal.
_VIEWED_SAMPLES = 2_000


@dataclass(frozen=True)
class Representation:
    """A way to turn images into features.

    Args:
        name: For messages: `trained`, `untrained`, `raw_pixels`, `champion`.
        digest: Of everything that decides the features, the snapshot and image size included.
        embed: Images to features.
        embed_views: Two views of each sample to features.
        training: Digest of the training that made the encoder; empty for a baseline.
    """

    name: str
    digest: str
    embed: Embed
    embed_views: EmbedViews
    training: str


@dataclass(frozen=True)
class Assessment:
    """Scores of a representation, and the predictions behind them.

    Args:
        report: Scores with intervals.
        predictions: By protocol, (N,) predicted class of each test sample.
        labels: (N,) true classes of the test samples; None without labels.
    """

    report: RepresentationReport
    predictions: Mapping[str, NDArray[np.int64]]
    labels: NDArray[np.int64] | None


def protocols(spec: EvaluationSpec) -> dict[str, Evaluation]:
    """The protocols of a spec with their options, in its order.

    Raises:
        SpecError: When a name or an option is unknown or out of range, or options are given for a protocol that is
            not asked for.
    """
    for name in spec.options.keys() - set(spec.protocols):
        raise SpecError(f"evaluation.options.{name}: {name!r} is not among evaluation.protocols; add it or drop these")
    return {
        name: EVALUATIONS.build(
            name, spec.options.get(name, {}), field="evaluation.protocols", options_field=f"evaluation.options.{name}"
        )
        for name in spec.protocols
    }


def assess(
    representation: Representation,
    spec: EvaluationSpec,
    *,
    snapshot: SnapshotRef,
    cache: Path,
    embeddings: Path,
    evaluations: Path,
) -> Assessment:
    """Measure a representation with every protocol that its data allows, or read what was measured before.

    Args:
        representation: What to measure.
        spec: With which protocols.
        snapshot: Names the classes.
        cache: The snapshot's images at the size that the representation takes.
        embeddings: Folder in which features are kept.
        evaluations: Folder in which assessments are kept.
    """
    chosen = protocols(spec)
    code = code_digest(*(type(protocol).__module__ for protocol in chosen.values()), alone=[__name__])
    digest = digest_of([representation.digest, spec, {name: p.model_dump() for name, p in chosen.items()}, code])
    folder = evaluations / digest
    # A folder's name says nothing to a person; retention goes by what its manifest says it was made from.
    facts = {
        "representation": representation.name,
        "training": representation.training,
        "snapshot": snapshot.digest,
    }
    if not artifact_dir.is_intact(folder):
        train, test = _features(representation, cache, embeddings, facts)
        outcomes = {
            name: protocol(train, test, classes=snapshot.classes, resamples=spec.resamples, seed=spec.seed)
            for name, protocol in chosen.items()
            if test.labels is not None or not protocol.needs_labels
        }
        _keep(folder, outcomes, test, facts)
    return _read(folder)


def gain(first: Assessment, second: Assessment, score: str, spec: EvaluationSpec) -> Score | None:
    """The first's accuracy minus the second's on the same test samples; None when the score was not measured.

    Args:
        first: For example of the challenger.
        second: For example of the champion.
        score: Such as `linear_probe.accuracy`.
        spec: Resamples and seed of the interval.

    Raises:
        SpecError: When the score is no accuracy of a protocol that predicts classes.
    """
    name, _, figure = score.rpartition(".")
    if first.labels is None:
        return None
    if figure != "accuracy" or name not in first.predictions:
        known = ", ".join(f"{known}.accuracy" for known in first.predictions)
        raise SpecError(f"promotion.score: {score!r} cannot decide; choose one of: {known}")
    right, other = (one.predictions[name] == first.labels for one in (first, second))
    return paired_gain(right, other, resamples=spec.resamples, seed=spec.seed)


def _features(
    representation: Representation, cache: Path, embeddings: Path, facts: Mapping[str, str]
) -> tuple[Features, Features]:
    splits = {name: load_split(cache, name) for name in ("train", "test")}
    viewed = _first(splits["test"], _VIEWED_SAMPLES)

    def compute() -> dict[str, SplitFeatures]:
        made = {name: SplitFeatures(split.ids, representation.embed(split.images)) for name, split in splits.items()}
        first, second = representation.embed_views(viewed)
        return made | {"view-0": SplitFeatures(viewed.ids, first), "view-1": SplitFeatures(viewed.ids, second)}

    kept = cached_features(embeddings / representation.digest, compute, facts)
    train, test = (Features(kept[name].embeddings, split.labels, split.ids) for name, split in splits.items())
    return train, replace(test, views=(kept["view-0"].embeddings, kept["view-1"].embeddings))


def _first(split: ImageSplit, count: int) -> ImageSplit:
    """The first samples of a split, which is in the order of content hashes: a fixed random part."""
    return ImageSplit(
        images=split.images[:count],
        ids=split.ids[:count],
        sample_ids=split.sample_ids[:count],
        labels=None if split.labels is None else split.labels[:count],
    )


def _keep(folder: Path, outcomes: Mapping[str, Outcome], test: Features, facts: Mapping[str, str]) -> None:
    """Seal the scores as JSON and the predictions as Parquet."""
    report = RepresentationReport(
        scores={name: score for outcome in outcomes.values() for name, score in outcome.scores.items()},
        per_class=next((outcome.per_class for outcome in outcomes.values() if outcome.per_class), {}),
        confusion=next((outcome.confusion for outcome in outcomes.values() if outcome.confusion), []),
        choices={name: value for outcome in outcomes.values() for name, value in outcome.choices.items()},
    )
    columns = {name: array for outcome in outcomes.values() for name, array in outcome.predictions.items()}
    if test.labels is not None:
        columns["label"] = test.labels
    with artifact_dir.staging(folder.parent) as staged:
        (staged / "report.json").write_text(report.model_dump_json(indent=1))
        write_arrays(staged / "predictions.parquet", {"id": test.ids, **columns})
        artifact_dir.publish(staged, folder, dict(facts))


def _read(folder: Path) -> Assessment:
    report = RepresentationReport.model_validate(json.loads((folder / "report.json").read_text()))
    columns = read_arrays(folder / "predictions.parquet")
    del columns["id"]
    labels = columns.pop("label", None)
    return Assessment(report=report, predictions=columns, labels=labels)
