"""Evaluations of frozen features: linear probe, nearest neighbors, geometry. One file each.

None of them updates an encoder; each sees the training features, the test features and, where there are any, labels.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from cl_core.columns import Column
from cl_core.errors import DataError
from cl_core.evaluation.bootstrap import per_sample_score
from cl_core.refs import IMAGE, Score
from cl_core.registry import Component


class SecondSide(NamedTuple):
    """Features of the second sides of pairs, in the order of the pairs."""

    embeddings: Column  # N rows of (D,) float32, not normalized.
    # (N,) equal where a second side is as right as the own one; None where none is.
    identities: NDArray[np.uint64] | None
    same_first: NDArray[np.int64]  # (N,) equal where the first sides are the same to a model.
    same_second: NDArray[np.int64]  # (N,) equal where the second sides are.


@dataclass(frozen=True)
class Features:
    """Features of one split.

    Args:
        embeddings: N rows of (D,) float32, not normalized; on the disk until they are taken. Of a training split that
            no protocol reads, no rows.
        labels: (N,) int64 indices of classes, -1 for a sample without one; None when no sample has one.
        ids: (N, 32) uint8, content hashes; they decide validation parts and break ties.
        views: Two (M, D) float32 arrays, row i of each an augmented view of one sample; for alignment.
        identities: (N,) uint64, equal for samples of one `data.group`; None without groups.
        second: Of pairs, whose first sides the embeddings are then of.
        asked: By protocol, (A, D) features of the payloads that it has asked for. Without those that cannot be compared
            with the embeddings.
    """

    embeddings: Column
    labels: NDArray[np.int64] | None
    ids: NDArray[np.uint8]
    views: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    identities: NDArray[np.uint64] | None = None
    second: SecondSide | None = None
    asked: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def groups(self) -> NDArray[np.int64]:
        """(N,) class of each sample, -1 without one."""
        return np.full(len(self.ids), -1) if self.labels is None else self.labels

    @property
    def sample_ids(self) -> NDArray[np.uint64]:
        """(N,) leading 64 bits of each content hash."""
        return np.ascontiguousarray(self.ids[:, :8]).view(">u8").ravel().astype(np.uint64)

    def labeled(self, split: str) -> "Features":
        """Return the samples that have a label, without views; their embeddings are not read.

        Args:
            split: Name of the split, for the message.

        Raises:
            DataError: When there are none.
        """
        has_label = self.groups >= 0
        if not has_label.any():
            raise DataError(
                f"the {split} split has no labeled sample, and this evaluation needs them; give some a label, "
                "or leave the evaluation out of evaluation.protocols"
            )
        # What lies in sequence is read without a copy.
        return Features(self.embeddings, self.groups, self.ids) if has_label.all() else self.rows(has_label)

    def rows(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "Features":
        """Select samples, without views, by positions or by a mask; their embeddings are not read."""
        positions = np.arange(len(self.ids))[chosen]
        return Features(self.embeddings.select(positions), self.groups[positions], self.ids[positions])


class EvaluatedData(NamedTuple):
    """What is known of the data before anything is measured: labels, groups, and what samples are."""

    train: Mapping[str, int]  # Labeled samples by class, as in `test`.
    test: Mapping[str, int]
    grouped: bool = False  # Whether samples have a group.
    paired: bool = False  # Whether samples are pairs.
    takes: tuple[str, ...] = (IMAGE,)  # Modalities of what a model takes: of each of its programs.

    @property
    def rarest(self) -> int:
        """Training samples of the rarest class that has any; 0 without labels."""
        return min((count for count in self.train.values() if count), default=0)

    @property
    def unseen(self) -> dict[str, int]:
        """Test samples of the classes that have no training sample."""
        return {name: count for name, count in self.test.items() if count and not self.train.get(name)}


def label_counts(train: Features, test: Features, classes: list[str]) -> EvaluatedData:
    """Count the labeled samples of each class in both splits."""
    train_counts, test_counts = (
        np.bincount(split.groups[split.groups >= 0], minlength=len(classes)).tolist() for split in (train, test)
    )
    return EvaluatedData(
        dict(zip(classes, train_counts, strict=True)),
        dict(zip(classes, test_counts, strict=True)),
        grouped=test.identities is not None,
        paired=test.second is not None,
    )


@dataclass(frozen=True)
class Outcome:
    """The result of an evaluation.

    Args:
        scores: By name, with 95 % intervals.
        per_class: precision, recall and f1 by class name, where the evaluation has them.
        confusion: (C, C) counts, rows true, columns predicted; empty where there is none.
        predictions: By name, (N,) int64 predicted class of each test sample, labeled or not, in the order of the
            test split; what paired comparisons need.
        choices: What was chosen on the validation part.
        per_sample: By name of a score that is a mean over test samples, (N,) float64 of each in the order of the test
            split, NaN where a sample has none; what paired comparisons need.
        roc: Points (false accept rate, true accept rate) from (0, 0) to (1, 1), where pairs are verified.
    """

    scores: dict[str, Score]
    per_class: dict[str, dict[str, Score]] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)
    predictions: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    choices: dict[str, float] = field(default_factory=dict)
    per_sample: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    roc: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def of_samples(
        cls, values: Mapping[str, NDArray[np.float64]], positions: NDArray[np.int64], count: int, **drawn: int
    ) -> Self:
        """Return the means of scores, by name, that some test samples have.

        Args:
            values: (n,) of each score, NaN where a sample has none; a score that no sample has is left out.
            positions: (n,) of the samples in the test split.
            count: Samples of the test split.
            drawn: Options of `per_sample_score`.
        """
        spread = {name: np.full(count, np.nan) for name in values}
        for name, of_some in values.items():
            spread[name][positions] = of_some
        known = {name: of_some[np.isfinite(of_some)] for name, of_some in values.items()}
        return cls(
            {name: per_sample_score(some, **drawn) for name, some in known.items() if len(some)}, per_sample=spread
        )


class Evaluation(Component):
    """One evaluation protocol. Its fields are its options."""

    needs_labels: ClassVar[bool]
    reads_training: ClassVar[bool] = True
    """Whether it reads features of the training split, which are then computed and kept."""

    @property
    def uses_labels(self) -> bool:
        """Whether it needs labels with these options."""
        return self.needs_labels

    @property
    def predictors(self) -> tuple[str, ...] | None:
        """Names under which it predicts classes; the gate decides by the accuracy of one. None: not known before."""
        return None

    @property
    def per_sample_scores(self) -> tuple[str, ...]:
        """Names of its scores that are means over test samples, beside accuracies; the gate can decide by one."""
        return ()

    @property
    def inputs_digest(self) -> str:
        """Digest of what it reads beside its options, such as a file; empty if there is nothing."""
        return ""

    def asked(self, classes: list[str]) -> list[bytes]:
        """Return payloads that are embedded for it; it finds them in `Features.asked`.

        They are of the kind that models take, of two kinds the second. `classes` are the names of the classes.
        """
        del classes
        return []

    def fitted_to(self, labels: EvaluatedData) -> Self:
        """Return the protocol for so many labeled samples: with defaults that fit, and as it is if all do.

        Raises:
            InputError: When an option that was given does not fit; the message has the numbers.
        """
        return self

    @abstractmethod
    def __call__(self, train: Features, test: Features, *, classes: list[str], resamples: int, seed: int) -> Outcome:
        """Measure the features.

        Args:
            train: Features of the training split.
            test: Features of the test split; its labels score, and never choose anything.
            classes: Names of the classes.
            resamples: Bootstrap resamples behind each interval.
            seed: Decides resamples and validation part.

        Raises:
            DataError: When the evaluation needs labels and a split has none.
        """
