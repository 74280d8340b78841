"""Checkpoints: artifact directories of safetensors and JSON. No pickle; verified before they are loaded.

`step-NNNNNNNN/` holds `method.safetensors` (weights and buffers: queues, prototypes, running statistics),
`optimizer.safetensors`, `optimizer.json`, and the manifest with the step. The order of samples, the views and the
learning rate are functions of the step, so nothing else is needed to resume.
"""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from cl_core import artifact_dir
from cl_core.errors import IntegrityError
from cl_core.failpoints import failpoint
from cl_core.training.warm_start import state_of

logger = logging.getLogger(__name__)

_METHOD = "method.safetensors"
_OPTIMIZER_TENSORS = "optimizer.safetensors"
_OPTIMIZER_VALUES = "optimizer.json"
_KEPT = 2


class CheckpointStore:
    """The checkpoints of one training, in `folder`; the newest two are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, *, method: nn.Module, optimizer: Optimizer, facts: dict[str, Any]) -> Path:
        """Write the state after `step` steps; a crash at any moment leaves older checkpoints intact.

        Raises:
            StorageFullError: When the disk is full.
        """
        final = self.at(step)
        with artifact_dir.staging(self.folder) as staged:
            _write_tensors(staged / _METHOD, method.state_dict())
            failpoint("pretrain.checkpoint-half-written")
            tensors, values = _flatten(optimizer.state_dict())
            _write_tensors(staged / _OPTIMIZER_TENSORS, tensors)
            (staged / _OPTIMIZER_VALUES).write_text(json.dumps(values, sort_keys=True), encoding="utf-8")
            artifact_dir.publish(staged, final, {**facts, "step": step})
        for old in self._newest_first()[_KEPT:]:
            shutil.rmtree(old)
        failpoint("pretrain.checkpoint-kept")
        return final

    def at(self, step: int) -> Path:
        """Return the path of the checkpoint after `step` steps."""
        return self.folder / f"step-{step:08d}"

    def latest(self) -> Path | None:
        """Return the newest intact checkpoint; skip damaged ones with a warning."""
        for path in self._newest_first():
            try:
                artifact_dir.verify(path)
            except IntegrityError as error:
                logger.warning("skipped a damaged checkpoint, using the previous one: %s", error)
            else:
                return path
        return None

    def clear(self) -> None:
        """Remove all checkpoints, so that the training starts over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), reverse=True)


def load(path: Path, *, method: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Load a checkpoint's state into a method and its optimizer; return its manifest."""
    method.load_state_dict(safetensors.torch.load_file(path / _METHOD))
    values = json.loads((path / _OPTIMIZER_VALUES).read_text(encoding="utf-8"))
    tensors = safetensors.torch.load_file(path / _OPTIMIZER_TENSORS)
    optimizer.load_state_dict(_unflatten(tensors, values))
    _lay_out_as_parameters(optimizer)
    return artifact_dir.manifest_of(path)


def load_encoder_state(path: Path) -> dict[str, Tensor]:
    """Return the encoder's weights and buffers from a checkpoint.

    Raises:
        IntegrityError: When the checkpoint is damaged.
    """
    artifact_dir.verify(path)
    return state_of("encoder", path / _METHOD)


def load_learned(path: Path) -> dict[str, float]:
    """Return what the loss has learned with the encoder, such as a scale, from a verified checkpoint."""
    with safetensors.safe_open(path / _METHOD, framework="pt") as state:
        learned = [name for name in state.keys() if ".learned." in name]  # noqa: SIM118 - it is no mapping
        return {name.rpartition(".learned.")[2]: state.get_tensor(name).item() for name in learned}


def _lay_out_as_parameters(optimizer: Optimizer) -> None:
    """Give loaded state the memory layout of its parameter, such as channels last.

    Fused optimizers go through both in the order of memory and would pair one weight with another's momentum.
    """
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    # Serialized in memory and written by Python, so that a full disk is an OSError like any other.
    path.write_bytes(safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}))


def _flatten(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimizer's state into tensors and JSON, both by "parameter/key"."""
    entries = {f"{index}/{key}": value for index, of_one in state["state"].items() for key, value in of_one.items()}
    tensors = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    values = {name: value for name, value in entries.items() if name not in tensors}
    return tensors, {"param_groups": state["param_groups"], "state": values}


def _unflatten(tensors: dict[str, Tensor], values: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    # Torch moves state to the parameters' device and keeps step counters on the CPU by itself.
    for name, value in {**values["state"], **tensors}.items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = value
    return {"state": state, "param_groups": values["param_groups"]}
