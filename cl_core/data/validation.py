"""Validate a snapshot: refuse data that cannot be trained or tested on, with the numbers and the remedy.

Single inputs are rejected when they are ingested; `cl_core/modalities` has the reasons.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import AliasChoices, Field, model_validator

from cl_core.data.cache import cached_arrays, load_split
from cl_core.data.near_duplicates import MAX_DISTANCE, near_duplicates
from cl_core.data.snapshot import IN_TEST_SPLIT, SOURCES_TABLE, SnapshotProfile, snapshot_profile
from cl_core.errors import DataError
from cl_core.modalities import Modality
from cl_core.refs import Ref, SnapshotRef
from cl_core.specs import DataSpec

_EXAMPLES = 8
# Of the cache, whose rows become float32 while they are hashed.
_HASHED_BYTES = 1 << 22


class NearDuplicates(Ref):
    """Pairs of a training and a test sample that are alike, by their fingerprints: of images a perceptual hash."""

    max_distance: int = Field(MAX_DISTANCE, description="Maximum number of differing bits of 64.")
    pairs: int
    test_samples: int = Field(description="Test samples with at least one such training sample.")
    test_share: float = Field(description="The same, as a fraction of the test split.")
    plain_samples: int = Field(
        description="Samples whose fingerprint means nothing, such as images of one color, in both splits; left out."
    )
    complete: bool = Field(description="False when too many samples are alike to count all: lower bounds.")
    examples: list[tuple[str, str]] = Field(description="Ids of a training and a test sample, closest pairs first.")
    origins: list[tuple[str, str]] = Field([], description="Where these samples are, by one copy each.")

    @model_validator(mode="before")
    @classmethod
    def _of_images(cls, values: Any) -> Any:
        """Read what version 0.1.0 stored, which knew images only."""
        old = {"test_images": "test_samples", "plain_images": "plain_samples"}
        return {old.get(name, name): value for name, value in values.items()} if isinstance(values, dict) else values


class ValidationReport(Ref):
    """The numbers on which data was accepted."""

    train_samples: int
    test_samples: int
    classes: int = Field(description="0 without labels.")
    smallest_class: int = Field(description="Training samples of the rarest class; 0 without labels.")
    unlabeled: int = Field(
        validation_alias=AliasChoices("unlabeled", "unlabelled"), description="Samples without a label."
    )
    quarantined: int
    quarantined_share: float = Field(description="Fraction of all inputs.")
    duplicates: int = Field(description="Copies merged within a split.")
    passed_over: dict[str, int] = Field({}, description="Files that are no inputs, by suffix or name.")
    near_duplicates: NearDuplicates | None = Field(description="None where the modality has no fingerprints.")
    look_alikes: list[list[str]] = Field([], description="Classes whose names differ in case, blanks or Unicode alone.")
    copies_of_test: int = Field(0, description="Training inputs left out because the test split has the same sample.")
    copied_origins: list[str] = Field([], description="Where some of them are.")
    test_only: list[str] = Field([], description="Classes of test samples that no training sample has.")


def validate_snapshot(snapshot: SnapshotRef, cache: Path, spec: DataSpec) -> ValidationReport:
    """Refuse data that cannot be trained on, and report the numbers of data that can, near-duplicates in its cache too.

    Raises:
        DataError: When there are too few training samples, no test samples, one class only, or too many rejected
            inputs; the message lists all problems.
    """
    profile = snapshot_profile(snapshot.path)
    if problems := _problems(profile, snapshot, spec):
        raise DataError(f"dataset {profile.name!r} cannot be trained on: " + "; ".join(problems))
    return ValidationReport(
        train_samples=profile.rows["train"],
        test_samples=profile.rows["test"],
        classes=len(profile.classes),
        smallest_class=min((profile.per_class["train"].get(name, 0) for name in profile.classes), default=0),
        unlabeled=sum(profile.unlabelled.values()),
        quarantined=snapshot.quarantined,
        quarantined_share=profile.quarantined_share,
        duplicates=profile.duplicates,
        passed_over=profile.passed_over,
        near_duplicates=_near_duplicates(snapshot.path, cache, spec.built_modality, profile.rows["test"]),
        look_alikes=look_alikes(profile.classes),
        copies_of_test=profile.quarantined.get(IN_TEST_SPLIT, 0),
        copied_origins=_copied_origins(snapshot.path) if IN_TEST_SPLIT in profile.quarantined else [],
        test_only=_test_only(profile.per_class),
    )


def look_alikes(classes: Iterable[str]) -> list[list[str]]:
    """Return groups of names that differ only in case, blanks or Unicode form: most likely, one class each."""
    alike = defaultdict(list)
    for name in classes:
        alike["".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    return [names for names in alike.values() if len(names) > 1]


def _test_only(per_class: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the classes of the test split that a labeled training split does not have."""
    trained = {name for name, count in per_class["train"].items() if count}
    return [name for name, count in per_class["test"].items() if count and name not in trained] if trained else []


def _problems(profile: SnapshotProfile, snapshot: SnapshotRef, spec: DataSpec) -> list[str]:
    """Return one sentence for each problem."""
    train, test = profile.rows["train"], profile.rows["test"]
    problems = []
    if train < spec.min_train_samples:
        problems.append(
            f"{train:,} unique training samples, at least {spec.min_train_samples:,} are needed; add samples, or "
            "lower data.min_train_samples"
        )
    drawn = profile.groups is not None and profile.groups.drawn
    if not test and not drawn:
        problems.append(
            "no test samples; give the source a test split, or no splits at all, so that data.test_share holds some out"
        )
    if drawn and not (train and test):
        problems.append(_one_sided(profile, spec))
    if len(profile.classes) == 1:
        problems.append(
            f"all labeled samples are of one class, {profile.classes[0]!r}; add another class, or ingest without labels"
        )
    # Nothing is wrong with a copy of a test sample; a warning names it.
    rejected = {reason: count for reason, count in profile.quarantined.items() if reason != IN_TEST_SPLIT}
    if (share := sum(rejected.values()) / max(1, profile.inputs)) > spec.max_quarantined_share:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in rejected.items())
        problems.append(
            f"{sum(rejected.values()):,} of {profile.inputs:,} inputs ({share:.1%}) are quarantined ({reasons}), "
            f"at most {spec.max_quarantined_share:.1%} are allowed; see {snapshot.path / 'quarantine.parquet'} and fix "
            "them, or raise data.max_quarantined_share"
        )
    return problems


def _one_sided(profile: SnapshotProfile, spec: DataSpec) -> str:
    assert profile.groups is not None
    split = "training" if profile.rows["train"] else "test"
    change = "raise" if split == "training" else "lower"
    together = " with near-duplicates" if spec.near_duplicates_together else ""
    return (
        f"all {sum(profile.groups.splits.values()):,} groups{together} are drawn into the {split} split, the largest "
        f"with {profile.groups.largest:,} samples; {change} data.test_share ({spec.test_share:g}), choose smaller "
        "groups by data.group, or give the source splits"
    )


def _near_duplicates(snapshot: Path, cache: Path, modality: Modality, test_samples: int) -> NearDuplicates | None:
    if not modality.has_fingerprints:
        return None
    train_ids, train_hashes, train_plain = _hashed(cache, "train", modality)
    test_ids, test_hashes, test_plain = _hashed(cache, "test", modality)
    matches = near_duplicates(train_hashes, test_hashes, examples=_EXAMPLES)
    examples = [(train_ids[a].tobytes(), test_ids[b].tobytes()) for a, b in matches.examples]
    origins = _origins(snapshot, {sample for pair in examples for sample in pair})
    return NearDuplicates(
        max_distance=MAX_DISTANCE,
        pairs=matches.pairs,
        test_samples=matches.second_images,
        test_share=matches.second_images / test_samples,
        plain_samples=train_plain + test_plain,
        complete=matches.complete,
        examples=[(train.hex(), test.hex()) for train, test in examples],
        origins=[(origins[train], origins[test]) for train, test in examples],
    )


def _copied_origins(snapshot: Path) -> list[str]:
    """Return where some training copies of test samples are."""
    rows = pq.read_table(
        snapshot / "quarantine.parquet", columns=["origin"], filters=pc.field("reason") == IN_TEST_SPLIT
    )
    return [str(origin) for origin in rows["origin"].slice(0, _EXAMPLES).to_pylist()]


def _origins(snapshot: Path, ids: Set[bytes]) -> dict[bytes, str]:
    """Return where the samples with these ids came from, of several copies the last."""
    filters = pc.field("id").isin(pa.array(sorted(ids), SOURCES_TABLE.field("id").type))
    table = pq.read_table(snapshot / "sources.parquet", columns=["id", "origin"], filters=filters)
    return dict(zip(table["id"].to_pylist(), table["origin"].to_pylist(), strict=True))


def _hashed(cache: Path, split: str, modality: Modality) -> tuple[np.ndarray, np.ndarray, int]:
    """Return ids (n, 32) and fingerprints (n,) of the samples of a split that have one, and how many have none."""
    samples, row_bytes = load_split(cache, split), sum(array.row_bytes for array in cached_arrays(cache))
    blocks = samples.columns.blocks(max(1, _HASHED_BYTES // row_bytes))
    hashed = [modality.fingerprints(block) for block in blocks]
    hashes, meaningful = (np.concatenate(arrays) for arrays in zip(*hashed, strict=True))
    return samples.ids[meaningful], hashes[meaningful], int((~meaningful).sum())
