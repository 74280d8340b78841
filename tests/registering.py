"""Small registrations, and processes that are killed while they register."""

import os
import shutil
import signal
from collections.abc import Callable
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path

import forked
import torch
from mlflow.tracking._tracking_service import utils as tracking
from torch import nn

from cl_core.evaluation.promotion_gate import Gains
from cl_core.export import EmbeddingModel
from cl_core.modalities._image_processor import ImageProcessor
from cl_core.modalities._model_input import ModelInput
from cl_core.refs import CheckpointRef, EvaluationReport, Lineage, RepresentationReport, Score, SnapshotRef
from cl_core.specs import PromotionSpec, TrainingSpec
from tasks.adapters.mlflow.artifact_locations import moved_experiments, relocate
from tasks.adapters.mlflow.model_store import ModelStore
from tasks.adapters.mlflow.model_version import Registration

NAME = "shoes"
LINEAGE = Lineage(
    code_version="0.1.0",
    source_digest="c" * 64,
    recipe="shoes-simclr.json",
    flow_run_id="0191f1c8-0000-7000-8000-000000000000",
    flow_run_url="http://prefect.example/runs/flow-run/0191f1c8-0000-7000-8000-000000000000",
)
SIZE, CHANNELS, FEATURES = 8, 1, 4
STEPS = range(10, 60, 10)

# The calls of MLflow that change something: killing before each of them leaves every state that there can be.
_WRITES = ("create_", "delete_", "finalize_", "log_", "set_", "update_")


def model(seed: int = 0) -> EmbeddingModel:
    torch.manual_seed(seed)
    encoder = nn.Sequential(
        nn.Conv2d(CHANNELS, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, FEATURES)
    )
    return EmbeddingModel(ImageProcessor((0.3,), (0.2,), SIZE), encoder)


def evaluation(digest: str = "e" * 64, accuracy: float = 0.9) -> EvaluationReport:
    def measured(value: float) -> RepresentationReport:
        scores = {
            "linear_probe.accuracy": Score(value=value, low=value - 0.01, high=value + 0.01),
            "geometry.effective_rank": Score(value=12, low=11, high=13),
        }
        return RepresentationReport(scores=scores, per_class={}, confusion=[], choices={})

    return EvaluationReport(
        digest=digest,
        training_digest="t" * 64,
        snapshot_digest="5" * 64,
        path=Path("/nowhere"),
        representations={"trained": measured(accuracy), "untrained": measured(0.7), "raw_pixels": measured(0.8)},
        left_out=[],
    )


def registration(digit: int = 1, name: str = NAME) -> Registration:
    """One per digit, which makes the training digest and the weights."""
    return Registration(
        name=name,
        build_model=cache(lambda: model(digit)),
        snapshot=SnapshotRef(
            name="shoe-photos",
            digest="5" * 64,
            path=Path("/data/shoes"),
            rows={"train": 90, "test": 10},
            classes=["boot", "sandal"],
            quarantined=2,
        ),
        takes=ModelInput(shape=(SIZE, SIZE, CHANNELS)),
        checkpoint=CheckpointRef(
            digest=f"{digit:x}" * 64,
            path=Path("/data/checkpoint"),
            step=50,
            snapshot_digest="5" * 64,
            resumed_from_step=0,
            seconds=12.5,
            peak_bytes=2**30,
        ),
        evaluation=evaluation(),
        specs={"training": TrainingSpec.model_construct(**TRAINING)},
        lineage=LINEAGE,
        curves=[{"step": step, "loss": 5 / step, "accuracy": step / 100, "seconds": step / 4} for step in STEPS],
    )


# Not validated: a registration does not care which components there are.
TRAINING = {
    "method": "simclr",
    "epochs": 5,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "loss_options": {"temperature": 0.1},
}


def gain(low: float, value: float = 0.1) -> Score:
    return Score(value=value, low=low, high=2 * value - low)


def gains(champion: int = 0) -> Gains:
    return Gains(
        over_untrained=gain(0.05),
        over_baseline=gain(0.04),
        baseline="raw_pixels",
        over_champion=gain(0.01) if champion else None,
        champion=champion,
    )


def store_at(home: Path) -> ModelStore:
    return ModelStore(f"sqlite:///{home}/mlflow.db", home / "artifacts", home / "work")


def copy_home(home: Path, copy: Path, artifacts: str = "artifacts") -> None:
    """Copy a home, and let MLflow's database point into the copy; nothing else in it holds absolute paths.

    Without that two tests would write into the same artifacts, such as the decision about a version.
    """
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("*.lock", "lock"), dirs_exist_ok=True)
    address = f"sqlite:///{copy}/mlflow.db"
    relocate(address, moved_experiments(address, copy / artifacts), copy / "backups")
    shutil.rmtree(copy / "backups", ignore_errors=True)
    # By the id of a run, which a copy has, too, MLflow remembers where its artifacts are.
    tracking._artifact_repos_cache.clear()


def register(home: Path, digit: int = 1) -> None:
    store_at(home).register(registration(digit))


def decide(home: Path, version: int, champion: int) -> None:
    store_at(home).decide(NAME, version, PromotionSpec(), evaluation(), gains(champion))


def rollback(home: Path) -> None:
    store_at(home).rollback(NAME)


def start(act: Callable[..., None], *arguments: object, killed_before_write: int = 0) -> BaseProcess:
    """Run `act` in a process of its own, which a SIGKILL ends just before its n-th write to MLflow."""
    return forked.start(_act, act, arguments, killed_before_write)


def _act(act: Callable[..., None], arguments: tuple[object, ...], killed_before_write: int) -> None:
    torch.set_num_threads(1)
    if killed_before_write:
        _kill_before_write(killed_before_write)
    act(*arguments)


def _kill_before_write(fatal: int) -> None:
    from mlflow import MlflowClient

    made = 0

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object, **named: object) -> object:
            nonlocal made
            made += 1
            if made == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return counting

    for name in dir(MlflowClient):
        if name.startswith(_WRITES):
            setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
