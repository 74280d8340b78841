"""Compare what a killed and rescheduled retraining left with what an uninterrupted one leaves."""

import tempfile
from pathlib import Path

from cl_core.hashing import file_sha256
from cl_core.refs import Ref
from cl_core.training.progress import ProgressLog
from tasks.adapters.mlflow.model_store import model_store
from tasks.adapters.mlflow.model_version import WEIGHTS
from tasks.adapters.mlflow.registry_checks import check_registry
from tasks.runtime import run_owner
from tasks.runtime.locks import is_locked
from tasks.runtime.settings import Settings
from tasks.server.diagnostics import lock_files, orphaned_files


class Audit(Ref):
    """The state under CL_HOME and of one model in MLflow after a retraining."""

    problems: list[str]
    weights: str
    repeated_steps: int
    repeated_seconds: float


def audit(model_name: str, *, weights: str, checkpoint_every_s: float, longest_step_s: float) -> Audit:
    """Check everything that a retraining may leave.

    Args:
        model_name: Name of the retrained model.
        weights: sha256 of the weights that the uninterrupted run registered; empty for that run itself.
        checkpoint_every_s: The checkpoint interval of the recipe. Seconds.
        longest_step_s: Longest time of a step and a checkpoint on this machine. Seconds.
    """
    settings = Settings.from_environment()
    problems = [
        f"{found.what}: {found.where}"
        for found in (*orphaned_files(settings), *check_registry(model_store(), name=model_name, grace_s=0))
    ]
    problems += [f"{lock} is held" for lock in lock_files(settings) if is_locked(lock)]
    problems += [
        f"the owner file of flow run {owner.flow_run_name} is left"
        for owner in run_owner.run_owners()
        if owner.is_stale
    ]
    registered = _registered_weights(model_name)
    if len(registered) != 1:
        problems.append(f"{len(registered)} versions are registered, not one")
    registered_sha256 = next(iter(registered.values()), "")
    if weights and registered_sha256 != weights:
        problems.append(f"the weights are {registered_sha256[:12]}, those of the uninterrupted run {weights[:12]}")
    repeated = [one for log in settings.trainings.glob("*/progress.jsonl") for one in ProgressLog(log).repeated()]
    if any(one.seconds > checkpoint_every_s + longest_step_s for one in repeated):
        problems.append(f"more than a checkpoint interval was repeated: {repeated}")
    return Audit(
        problems=problems,
        weights=registered_sha256,
        repeated_steps=sum(one.reached_step - one.from_step for one in repeated),
        repeated_seconds=sum(one.seconds for one in repeated),
    )


def _registered_weights(model_name: str) -> dict[int, str]:
    """Return the sha256 of the weights of each version, by its number; empty without such a model."""
    store, found = model_store(), {}
    versions = store.versions(model_name) if model_name in store.names() else []
    for number in (row.version for row in versions):
        with tempfile.TemporaryDirectory() as folder:
            store.fetch(store.find(model_name, number), [WEIGHTS], Path(folder))
            found[number] = file_sha256(Path(folder, WEIGHTS))
    return found
