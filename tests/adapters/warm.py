"""Imported once by the fork server: what takes seconds, so that each process forked from it starts at once.

No database is opened here: a connection does not survive a fork.
"""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from registering import model
from sqlalchemy.orm import configure_mappers

from tasks.adapters.mlflow_model import save

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder:
    save(model(), Path(folder, "model"), SimpleNamespace(artifact_location=folder, source_run_id="", model_id="m-0"))

import mlflow.store.model_registry.sqlalchemy_store  # noqa: E402 - after MLflow has been told to be quiet
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402, F401

configure_mappers()
