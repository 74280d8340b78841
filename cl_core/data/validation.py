"""Validation: data that cannot be trained or tested on is refused, with the numbers and the remedy."""

from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cl_core.data.cache import cached_groups
from cl_core.data.near_duplicates import MAX_DISTANCE, near_duplicates, perceptual_hashes
from cl_core.data.snapshot import SnapshotProfile, snapshot_profile
from cl_core.errors import DataError
from cl_core.refs import SnapshotRef
from cl_core.specs import DataSpec

_EXAMPLES = 8


class NearDuplicates(BaseModel):
    """Pairs of a training and a test image that look alike, by perceptual hash."""

    model_config = ConfigDict(frozen=True)

    max_distance: int = Field(MAX_DISTANCE, description="Pairs differ in at most so many of 64 bits.")
    pairs: int
    test_images: int = Field(description="Test images with at least one such training image.")
    test_share: float = Field(description="Those, as a fraction of the test split.")
    plain_images: int = Field(description="Images of one colour, in both splits, which are left out.")
    complete: bool = Field(description="False when so many images are alike that the counts are lower bounds.")
    examples: list[tuple[str, str]] = Field(description="Ids of a training and a test image, closest pairs first.")


class ValidationReport(BaseModel):
    """The numbers on which data was accepted."""

    model_config = ConfigDict(frozen=True)

    train_samples: int
    test_samples: int
    classes: int = Field(description="0 without labels.")
    smallest_class: int = Field(description="Training samples of the rarest class; 0 without labels.")
    unlabelled: int
    quarantined: int
    quarantined_share: float = Field(description="Fraction of all inputs.")
    duplicates: int = Field(description="Copies merged within a split.")
    near_duplicates: NearDuplicates


def validate_snapshot(snapshot: SnapshotRef, cache: Path, spec: DataSpec) -> ValidationReport:
    """Refuse data that cannot be trained on; report what a person should know of data that can.

    Args:
        snapshot: What was ingested.
        cache: Its training cache, in which near-duplicates are looked for.
        spec: Says how few samples and how much quarantine are acceptable.

    Raises:
        DataError: When there are too few training samples, no test samples, one class only, contents in both splits,
            or too many rejected inputs; the message says all that is wrong, not only the first.
    """
    facts = snapshot_profile(snapshot)
    if problems := _problems(facts, snapshot, spec):
        raise DataError(f"dataset {facts.name!r} cannot be trained on: " + "; ".join(problems))
    return ValidationReport(
        train_samples=facts.rows["train"],
        test_samples=facts.rows["test"],
        classes=len(facts.classes),
        smallest_class=min((facts.per_class["train"].get(name, 0) for name in facts.classes), default=0),
        unlabelled=sum(facts.unlabelled.values()),
        quarantined=snapshot.quarantined,
        quarantined_share=_quarantined_share(facts),
        duplicates=facts.duplicates,
        near_duplicates=_near_duplicates(cache, facts.rows["test"]),
    )


def _problems(facts: SnapshotProfile, snapshot: SnapshotRef, spec: DataSpec) -> list[str]:
    """One sentence for each reason to refuse."""
    train, test = facts.rows["train"], facts.rows["test"]
    problems = []
    if train < spec.min_train_samples:
        problems.append(
            f"{train:,} distinct training samples, at least {spec.min_train_samples:,} are wanted; add samples, or "
            "lower data.min_train_samples"
        )
    if not test:
        problems.append(
            "no test samples; give the source a test split, or none at all, so that data.test_share holds some out"
        )
    if len(facts.classes) == 1:
        problems.append(
            f"all labelled samples are of one class, {facts.classes[0]!r}, so a classifier has nothing to tell apart; "
            "add another class, or ingest without labels"
        )
    if facts.leaked:
        problems.append(
            f"{facts.leaked:,} images are in both the training and the test split, so the test would not be one; "
            f"remove one copy of each (their ids are in both splits of {snapshot.path / 'sources.parquet'}), or give "
            "no splits, so that the content's hash decides"
        )
    share = _quarantined_share(facts)
    if share > spec.max_quarantined_share:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in facts.quarantined.items())
        problems.append(
            f"{snapshot.quarantined:,} of {facts.inputs:,} inputs ({share:.1%}) are quarantined ({reasons}), at most "
            f"{spec.max_quarantined_share:.1%} may be; see {snapshot.path / 'quarantine.parquet'} and mend them, or "
            "raise data.max_quarantined_share"
        )
    return problems


def _quarantined_share(facts: SnapshotProfile) -> float:
    return sum(facts.quarantined.values()) / max(1, facts.inputs)


def _near_duplicates(cache: Path, test_samples: int) -> NearDuplicates:
    train_ids, train_hashes, train_plain = _hashed(cache, "train")
    test_ids, test_hashes, test_plain = _hashed(cache, "test")
    matches = near_duplicates(train_hashes, test_hashes, examples=_EXAMPLES)
    return NearDuplicates(
        max_distance=MAX_DISTANCE,
        pairs=matches.pairs,
        test_images=matches.second_images,
        test_share=matches.second_images / test_samples,
        plain_images=train_plain + test_plain,
        complete=matches.complete,
        examples=[(train_ids[a].tobytes().hex(), test_ids[b].tobytes().hex()) for a, b in matches.examples],
    )


def _hashed(cache: Path, split: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Ids (n, 32) and perceptual hashes (n,) of the images of a split that have one, and how many have none."""
    ids, hashes, plain = [], [], 0
    for batch_ids, images, _ in cached_groups(cache, split):
        found, telling = perceptual_hashes(images)
        ids.append(batch_ids[telling])
        hashes.append(found[telling])
        plain += int((~telling).sum())
    return np.concatenate(ids), np.concatenate(hashes), plain
