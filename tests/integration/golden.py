"""A home with three versions, trained once for all tests that only need to have something, and copies of it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import forked
from filelock import FileLock
from registering import copy_home
from servers import give_store

from tasks.adapters.mlflow.model_store import ModelStore

NAME = "shapes"

# The least that makes a version: pixels go in, and one epoch later a vector comes out.
SPECS: dict[str, Any] = {
    "data": {"name": "shapes", "source": "synthetic", "source_options": {"count": 200, "size": 8}, "image_size": 8},
    "training": {"encoder": "mlp", "epochs": 1, "batch_size": 32, "warmup_epochs": 0.1, "held_out_share": 0},
    "evaluation": {"protocols": ["knn", "geometry"], "options": {"knn": {"ks": [20]}}, "resamples": 100},
    "compute": {"threads": 1, "checkpoint_every_s": 0.001, "report_every_s": 0},
}
NAMED: dict[str, Any] = {"model_name": NAME, "promotion": {"score": "knn_20.accuracy"}, **SPECS}


def on_data(seed: int) -> dict[str, Any]:
    """The recipe of a version on other data; those of seed 0, 1 and 2 are in the golden home."""
    options = {"count": 200, "size": 8, "seed": seed}
    return {**NAMED, "data": {**NAMED["data"], "source_options": options}}


def golden_home(session: Path, prefect: str) -> Path:
    """Three versions on three snapshots with their reports, the second one champion and the first one before it.

    Made by the first test process that asks for it; the others wait. It is not to be changed.

    Args:
        session: A folder that all test processes of this run know.
        prefect: Address of a Prefect server's API.
    """
    golden = session / "golden"
    with FileLock(session / "golden.lock"):
        if not golden.exists():
            making = session / "golden-in-making"
            give_store(making)
            for seed in (0, 1, 2):
                recipe = session / f"on-data-{seed}.json"
                recipe.write_text(json.dumps(on_data(seed)))
                left_out = ("MLFLOW_TRACKING_URI", "CL_NOTIFY", "CL_DATA_ROOTS")
                environment = {name: value for name, value in os.environ.items() if name not in left_out}
                environment |= {"CL_HOME": str(making), "PREFECT_API_URL": prefect}
                with forked.cl("retrain", "--recipe", str(recipe), environment=environment) as run:
                    _, said = run.communicate(timeout=600)
                assert run.returncode == 0, said
            store = ModelStore(f"sqlite:///{making}/mlflow.db", making / "mlflow-artifacts", making / "work")
            for version in (1, 2):
                store.promote(NAME, version, "wanted by the tests")
            copy_home(making, golden, "mlflow-artifacts")
            shutil.rmtree(making)
    return golden


def session_folder(basetemp: Path) -> Path:
    """The folder that all test processes of a run know, of which each has a part."""
    return basetemp.parent if "PYTEST_XDIST_WORKER" in os.environ else basetemp
