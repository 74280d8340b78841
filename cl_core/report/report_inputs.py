"""The inputs of a report: plain values, so that rendering reads no file and asks no server."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_core.columns import Columns
from cl_core.data.snapshot import SnapshotProfile
from cl_core.data.validation import NearDuplicates
from cl_core.modalities import Modality
from cl_core.refs import Decision, EvaluationReport, Score
from cl_core.report.costs import StepCost

# Below it, intervals hold the truth too seldom: docs/explanation/intervals.md has the measured shares.
_FEW_SAMPLES = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportInputs:
    """Everything that the report shows.

    Raises:
        ValueError: When rows, embeddings and labels differ in length, or a label names no class.
    """

    title: str
    model_name: str
    version: int
    uri: str  # models:/NAME/VERSION
    decision: Decision | None  # The last one recorded for this version; None before the first.
    evaluation: EvaluationReport
    # Scores, on the same test split, of the champion that the gate compared with; empty without one.
    champion: Mapping[str, Score] = field(default_factory=dict)
    champion_roc: Sequence[tuple[float, float]] = ()  # Its points, where pairs are verified.
    # One mapping per report of the trainer: step, epoch, seconds, loss, accuracy, alignment, ... in order of step.
    curves: Sequence[Mapping[str, float]] = ()
    profile: SnapshotProfile
    near_duplicates: NearDuplicates | None = None  # Across the splits; None when they were not searched for.
    specs: Mapping[str, Any] = field(default_factory=dict)  # By group (data, training, ...), as JSON values.
    lineage: Sequence[tuple[str, str, str]] = ()  # (what, digest or id, detail), from the data to the model.
    timings: Sequence[StepCost] = ()  # What each step of the run that wrote the report cost, retries included.
    # Addresses by name, such as the pages of the run in MLflow and Prefect.
    links: Mapping[str, str] = field(default_factory=dict)
    modality: Modality  # Of the samples.
    rows: Columns  # M test samples as they are cached, read when they are drawn.
    embeddings: NDArray[np.float32]  # (M, F), of the trained encoder.
    # (M,) index into `classes`, -1 without a label; none when no sample has one.
    labels: NDArray[np.integer] | None = None
    # (M,) index into `classes`, as the linear probe predicts, -1 where it did not; without it the neighbors vote.
    predicted: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        lengths = {"rows": len(self.rows), "embeddings": len(self.embeddings)}
        for name, indices in (("labels", self.labels), ("predicted", self.predicted)):
            if indices is None:
                continue
            lengths[name] = len(indices)
            if len(indices) and not -1 <= indices.min() <= indices.max() < len(self.classes):
                raise ValueError(
                    f"{name} must be -1 or the index of one of {len(self.classes)} classes; "
                    f"they range from {indices.min()} to {indices.max()}"
                )
        if len(set(lengths.values())) > 1:
            raise ValueError(f"a report needs one row per test sample in each array; got {lengths}")

    @property
    def classes(self) -> list[str]:
        """Return the class names in the order of the labels' numbers; empty without labels."""
        return self.profile.classes

    @property
    def is_champion(self) -> bool:
        """Return whether users fetch this version."""
        return self.decision is not None and self.decision.champion == self.version

    @property
    def fetch_uri(self) -> str:
        """Return the URI to fetch: the alias when this version holds it, else this version."""
        return f"models:/{self.model_name}@champion" if self.is_champion else self.uri

    @property
    def rare_classes(self) -> dict[str, int]:
        """Return the classes with fewer than 5 scored test samples, and how many they have."""
        samples = {name: sum(row) for name, row in zip(self.classes, self.evaluation.trained.confusion, strict=False)}
        return {name: count for name, count in samples.items() if 0 < count < _FEW_SAMPLES}


def roc_curves(
    report: EvaluationReport, champion: Sequence[tuple[float, float]]
) -> dict[str, Sequence[tuple[float, float]]]:
    """Return the points of each representation, in the order of `score_columns`; empty where no pair was verified."""
    of = {"trained": report.trained} | report.representations
    curves: dict[str, Sequence[tuple[float, float]]] = {name: measured.roc for name, measured in of.items()}
    return {name: points for name, points in (curves | {"champion": champion}).items() if points}


def score_columns(report: EvaluationReport, champion: Mapping[str, Score]) -> dict[str, Mapping[str, Score]]:
    """Return scores by representation: the trained encoder first, the champion, if there is one, last."""
    columns: dict[str, Mapping[str, Score]] = {"trained": report.trained.scores}
    columns |= {name: measured.scores for name, measured in report.representations.items() if name != "trained"}
    return columns | ({"champion": champion} if champion else {})


def finite_points(curves: Sequence[Mapping[str, float]], name: str) -> NDArray[np.float64]:
    """Return (P, 2) steps and values of one curve, without what was not reported or is not finite."""
    points = [(row["step"], row[name]) for row in curves if row.get(name) is not None and math.isfinite(row[name])]
    return np.array(points, dtype=np.float64).reshape(-1, 2)
