"""Imported once by the server of `forked`: what takes seconds, so that each process forked from it starts at once.

No database is opened here, and no thread is left: neither survives a fork.
"""

# ruff: noqa: E402 - Prefect and MLflow are told to be quiet before they are imported.
import importlib
import pkgutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

from tasks.runtime.process_environment import embed_prefect
from tasks.runtime.settings import Settings

Settings.from_environment().home.mkdir(parents=True, exist_ok=True)
embed_prefect(Settings.from_environment(), temporary_url="")

import small_training  # noqa: F401 - what forked processes do stands there, too
import torch
from chaos.failpoints import install_hook
from sqlalchemy.orm import configure_mappers
from torch import nn

import cl_core
import flows
import tasks
from cl_core.export import EmbeddingModel
from cl_core.modalities._image_processor import ImageProcessor
from tasks.adapters.mlflow.logged_model import save_model

torch.set_num_threads(1)
install_hook()
for package in (cl_core, tasks, flows):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        # What compares with other libraries imports them, which no command of a test does.
        if "parity" not in module.name:
            importlib.import_module(module.name)

with tempfile.TemporaryDirectory() as folder:
    model = EmbeddingModel(ImageProcessor((0.3,), (0.2,), 8), nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
    save_model(
        model,
        ["image"],
        Path(folder, "model"),
        SimpleNamespace(model_uri="models:/m-0", source_run_id="", model_id="m-0"),
    )

import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

configure_mappers()
