"""Assess a representation: run the protocols on its features, and keep scores and predictions under a digest."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache as cached
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_core import artifact_dir
from cl_core.columns import Column, Columns, Split
from cl_core.data.cache import load_split
from cl_core.data.snapshot import snapshot_profile
from cl_core.errors import SpecError
from cl_core.evaluation.bootstrap import mean_score, paired_gain
from cl_core.evaluation.features import FeatureBlocks, SplitFeatures, cached_features
from cl_core.evaluation.protocol_choice import choose_protocols, counts_of
from cl_core.evaluation.protocols import Features, Outcome, SecondSide
from cl_core.evaluation.representations import BLOCK, Representation
from cl_core.hashing import digest_of
from cl_core.hashing.code_digest import code_digest
from cl_core.modalities._model_input import model_row
from cl_core.refs import AssessmentRef, RepresentationReport, Score
from cl_core.specs import EvaluationSpec
from cl_core.tables import read_arrays, write_arrays

# Alignment is a mean over pairs of views; this many samples fix its second decimal.
_VIEWED_SAMPLES = 2_000
_SECOND = "test-second"


@dataclass(frozen=True)
class Assessment:
    """Scores of a representation, and the predictions behind them."""

    ref: AssessmentRef  # Where it is kept.
    cached: bool  # Whether it was kept already, so that nothing was computed.
    report: RepresentationReport  # Scores with intervals.
    predictions: Mapping[str, NDArray[np.int64]]  # By protocol, (N,) predicted class of each test sample.
    per_sample: Mapping[str, NDArray[np.float64]]  # By other score, (N,) of each test sample, NaN for none.
    labels: NDArray[np.int64] | None  # (N,) true classes of the test samples; None without labels.


def assess(representation: Representation, spec: EvaluationSpec, *, embeddings: Path, evaluations: Path) -> Assessment:
    """Evaluate a representation with every protocol that its data allows, unless its assessment is up to date."""
    chosen = choose_protocols(spec, counts_of(snapshot_profile(representation.prepared.snapshot.path))).running
    code = code_digest(*(type(protocol).__module__ for protocol in chosen.values()), alone=[__name__])
    options = {name: [p.model_dump(), p.inputs_digest] for name, p in chosen.items()}
    digest = digest_of([representation.digest, spec, options, code])
    ref = AssessmentRef(name=representation.name, digest=digest, path=evaluations / digest)
    is_cached = artifact_dir.is_intact(ref.path)
    if not is_cached:
        splits = cached(partial(load_split, representation.prepared.cache))
        kept = _kept_features(representation, splits, embeddings)
        if any(protocol.reads_training for protocol in chosen.values()):
            kept |= _kept_training(representation, splits, embeddings)
        nothing = np.empty((0, kept["test"].embeddings.shape[1]), np.float32)
        train, test = (
            Features(
                Column(kept[name].embeddings if name in kept else nothing),
                splits(name).labels,
                splits(name).ids,
                identities=splits(name).groups,
            )
            for name in ("train", "test")
        )
        test = replace(test, views=(kept["view-0"].embeddings, kept["view-1"].embeddings))
        classes = representation.prepared.snapshot.classes
        if _SECOND in kept:
            columns = splits("test").columns
            same = (_equal_rows(columns.side(side)) for side in (0, 1))
            test = replace(test, second=SecondSide(Column(kept[_SECOND].embeddings), splits("test").identities, *same))
        asked = {name: payloads for name, protocol in chosen.items() if (payloads := protocol.asked(classes))}
        if representation.embeds_second:
            test = replace(test, asked={name: _of_payloads(representation, each) for name, each in asked.items()})
        outcomes = [
            protocol(train, test, classes=classes, resamples=spec.resamples, seed=spec.seed)
            for protocol in chosen.values()
        ]
        _keep(ref.path, outcomes, test, representation.made_from)
    return replace(read_assessment(ref), cached=is_cached)


def read_assessment(ref: AssessmentRef) -> Assessment:
    """Read an assessment that a step of this run has computed or verified."""
    report = RepresentationReport.model_validate_json((ref.path / "report.json").read_text(encoding="utf-8"))
    columns = read_arrays(ref.path / "predictions.parquet")
    del columns["id"]
    labels = columns.pop("label", None)
    per_sample = {name: columns.pop(name) for name in [name for name in columns if "." in name]}
    return Assessment(ref=ref, cached=True, report=report, predictions=columns, per_sample=per_sample, labels=labels)


def features_of_test(representation: Representation, *, embeddings: Path) -> NDArray[np.float32]:
    """Return the features of the test split, (N, F) float32; computed only where they are not kept."""
    splits = cached(partial(load_split, representation.prepared.cache))
    return _kept_features(representation, splits, embeddings)["test"].embeddings


def gain(first: Assessment, second: Assessment, score: str, spec: EvaluationSpec) -> Score | None:
    """Return a score of `first` minus that of `second` on the same test samples, paired; None without labels.

    The score is the accuracy of a protocol that predicts classes, such as `linear_probe.accuracy`, or any other mean
    over test samples, such as `view_retrieval.recall_at_1`, which may need no labels.

    Raises:
        SpecError: When the score is neither.
    """
    name, _, figure = score.rpartition(".")
    if score in first.per_sample:
        gains = first.per_sample[score] - second.per_sample[score]
        return mean_score(gains[np.isfinite(gains)], resamples=spec.resamples, seed=spec.seed)
    if not first.predictions and not first.per_sample:
        return None
    if figure != "accuracy" or name not in first.predictions:
        choices = ", ".join([*(f"{protocol}.accuracy" for protocol in first.predictions), *first.per_sample])
        raise SpecError(f"promotion.score: {score!r} cannot decide; choose one of: {choices}")
    assert first.labels is not None, "classes are predicted only where there are labels"
    scored = first.labels >= 0
    correct, reference = ((one.predictions[name] == first.labels)[scored] for one in (first, second))
    return paired_gain(correct, reference, resamples=spec.resamples, seed=spec.seed)


def _kept_features(
    representation: Representation, splits: Callable[[str], Split], embeddings: Path
) -> dict[str, SplitFeatures]:
    """Return the features of the test split, of the second sides of its pairs, and of two views, by name.

    The views are of the first test samples. Of pairs the features of the split are those of the first sides.
    """

    def compute() -> dict[str, FeatureBlocks]:
        features = {"test": _embedded(representation, splits("test"), side=0)}
        if representation.prepared.modality.sides > 1 and representation.embeds_second:
            features[_SECOND] = _embedded(representation, splits("test"), side=1)
        # A split is in the order of content hashes: its first samples are a fixed random part.
        viewed = splits("test").select(slice(_VIEWED_SAMPLES))
        views = enumerate(representation.embed_views(viewed))
        return features | {f"view-{number}": FeatureBlocks(viewed.ids, [rows]) for number, rows in views}

    return cached_features(embeddings / representation.digest, compute, representation.made_from)


def _kept_training(
    representation: Representation, splits: Callable[[str], Split], embeddings: Path
) -> dict[str, SplitFeatures]:
    """Return the features of the training split, by its name; of pairs those of the first sides."""
    folder = embeddings / digest_of([representation.digest, "train"])
    return cached_features(
        folder, lambda: {"train": _embedded(representation, splits("train"), side=0)}, representation.made_from
    )


def _embedded(representation: Representation, split: Split, *, side: int) -> FeatureBlocks:
    modality = representation.prepared.modality
    return FeatureBlocks(
        split.ids, (representation.embed(modality.side(rows, side), side) for rows in split.columns.blocks(BLOCK))
    )


def _equal_rows(columns: Columns) -> NDArray[np.int64]:
    """Return (N,) numbers, equal where rows are."""
    numbers = dict[bytes, int]()
    digests = (
        hashlib.sha256(b"".join(part.tobytes() for part in row)).digest()
        for rows in columns.blocks(BLOCK)
        for row in zip(*rows, strict=True)
    )
    return np.array([numbers.setdefault(digest, len(numbers)) for digest in digests], np.int64)


def _of_payloads(representation: Representation, payloads: list[bytes]) -> NDArray[np.float32]:
    """Return (A, F) features of payloads of the kind that models take, of two kinds the second."""
    modality, arrays = representation.prepared.modality, representation.prepared.arrays
    side = modality.programs[-1]
    kind, taken = modality.served(side), modality.side(arrays, side)
    blocks = (payloads[start : start + BLOCK] for start in range(0, len(payloads), BLOCK))
    rows = (zip(*(model_row(payload, kind, taken) for payload in block), strict=True) for block in blocks)
    return np.concatenate([representation.embed(tuple(map(np.stack, columns)), side) for columns in rows])


def _keep(folder: Path, outcomes: Sequence[Outcome], test: Features, made_from: dict[str, str]) -> None:
    """Publish the scores as JSON and the predictions as Parquet, in one artifact directory."""
    report = RepresentationReport(
        scores={name: score for outcome in outcomes for name, score in outcome.scores.items()},
        per_class=next((outcome.per_class for outcome in outcomes if outcome.per_class), {}),
        confusion=next((outcome.confusion for outcome in outcomes if outcome.confusion), []),
        choices={name: value for outcome in outcomes for name, value in outcome.choices.items()},
        roc=next((outcome.roc for outcome in outcomes if outcome.roc), []),
    )
    # Names of protocols have no dot, names of scores have one.
    kept = [of for outcome in outcomes for of in (outcome.predictions, outcome.per_sample)]
    columns: dict[str, NDArray[Any]] = {name: array for of in kept for name, array in of.items()}
    if test.labels is not None:
        columns["label"] = test.labels
    with artifact_dir.staging(folder.parent) as staged:
        (staged / "report.json").write_text(report.model_dump_json(indent=1), encoding="utf-8")
        write_arrays(staged / "predictions.parquet", {"id": test.ids, **columns})
        artifact_dir.publish(staged, folder, made_from)
