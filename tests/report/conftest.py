"""A small report: 240 images of three classes whose embeddings lie in three directions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cl_core.columns import Column, Columns
from cl_core.data.snapshot import SnapshotProfile
from cl_core.data.validation import NearDuplicates
from cl_core.modalities.image import Images
from cl_core.refs import Decision, EvaluationReport, LeftOut, RepresentationReport, Score
from cl_core.report.costs import Outcome, StepCost
from cl_core.report.report_inputs import ReportInputs

CLASSES = ["Bag", "Coat", "Shirt"]
ROWS = 240


def cost(step: str, seconds: float, outcome: Outcome) -> StepCost:
    return StepCost(
        step=step,
        outcome=outcome,
        attempts=1,
        seconds=seconds,
        cpu_seconds=0.9 * seconds,
        gpu_seconds=0,
        lost_seconds=0,
        waited_seconds=0,
        repeated_steps=0,
        why="",
    )


def score(value: float) -> Score:
    return Score(value=value, low=value - 0.012, high=value + 0.007)


def measured(accuracy: float, rank: float, **more: Any) -> RepresentationReport:
    scores = {"linear_probe.accuracy": score(accuracy), "geometry.effective_rank": score(rank)}
    return RepresentationReport(**({"scores": scores, "per_class": {}, "confusion": [], "choices": {}} | more))


def evaluation(classes: list[str]) -> EvaluationReport:
    per_class = {
        name: {"precision": score(0.61 + i / 10), "recall": score(0.62 + i / 10)} for i, name in enumerate(classes)
    }
    trained = measured(0.884, 43.21, per_class=per_class, confusion=[[70, 6, 4], [0, 80, 0], [9, 0, 71]])
    return EvaluationReport(
        digest="e" * 64,
        training_digest="7" * 64,
        snapshot_digest="c" * 64,
        path=Path("evaluations/e"),
        representations={"trained": trained, "untrained": measured(0.792, 6.5), "raw_pixels": measured(0.842, 9.25)},
        left_out=[],
    )


def profile(classes: list[str]) -> SnapshotProfile:
    counts = dict.fromkeys(classes, ROWS // 3)
    return SnapshotProfile(
        name="small",
        digest="c" * 64,
        rows={"train": ROWS, "test": ROWS},
        classes=classes,
        per_class={"train": counts, "test": counts},
        unlabelled={"train": 0, "test": 0},
        content={
            "channels": 1,
            "mean": (0.286,),
            "std": (0.353,),
            "sizes": [{"width": 8, "height": 8, "count": 2 * ROWS}],
            "distinct_sizes": 1,
        },
        formats={"PNG": 2 * ROWS},
        payload_bytes=1,
        inputs=2 * ROWS + 5,
        duplicates=3,
        leaked=0,
        quarantined={"unreadable": 2},
        passed_over={".csv": 1, "hidden": 2},
    )


@pytest.fixture
def make_profile() -> Callable[[list[str]], SnapshotProfile]:
    return profile


@pytest.fixture(scope="session")
def make_inputs() -> Callable[..., ReportInputs]:
    def make(classes: list[str] = CLASSES, **changes: Any) -> ReportInputs:
        generator = np.random.default_rng(7)
        labels = np.arange(ROWS) % 3
        embeddings = np.eye(3, 16)[labels] + 0.3 * generator.normal(size=(ROWS, 16))
        predicted = np.where(np.arange(ROWS) % 10 == 0, (labels + 1) % 3, labels)
        reason = "version 3 is promoted: linear_probe.accuracy 0.884"
        values: dict[str, Any] = {
            "title": "small retrained",
            "model_name": "small",
            "version": 3,
            "uri": "models:/small/3",
            "decision": Decision(name="small", version=3, champion=3, promoted=True, reason=reason, gain=score(0.013)),
            "evaluation": evaluation(classes),
            "champion": {"linear_probe.accuracy": score(0.871)},
            "curves": [{"step": i, "loss": 6.0 - i / 100, "accuracy": i / 500} for i in range(500)],
            "profile": profile(classes),
            "near_duplicates": NearDuplicates(
                pairs=4, test_samples=3, test_share=0.0125, plain_samples=0, complete=True, examples=[]
            ),
            "specs": {"training": {"method": "simclr"}},
            "lineage": [("Data", "c" * 64, "small"), ("Training", "7" * 64, "simclr")],
            "timings": [cost("ingest", 0.4, "cached"), cost("pretrain", 134.0, "ran")],
            "links": {"MLflow run": "http://localhost:5000/#/runs/3f1"},
            "modality": Images(size=8),
            "rows": Columns({"image": Column(generator.integers(0, 256, (ROWS, 8, 8, 1), dtype=np.uint8))}),
            "embeddings": embeddings.astype(np.float32),
            "labels": labels,
            "predicted": predicted,
        }
        return ReportInputs(**(values | changes))

    return make


@pytest.fixture
def label_free(make_inputs: Callable[..., ReportInputs]) -> ReportInputs:
    geometry = {"geometry.effective_rank": score(43.21)}
    report = evaluation(CLASSES).model_copy(
        update={
            "representations": {
                name: measured(0, 0, scores=geometry) for name in ("trained", "untrained", "raw_pixels")
            },
            "left_out": [LeftOut(code="no_labels", protocol="linear_probe")],
        }
    )
    facts = profile([]).model_copy(update={"per_class": {"train": {}, "test": {}}})
    return make_inputs(evaluation=report, profile=facts, labels=None, predicted=None, champion={})
