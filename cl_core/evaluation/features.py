"""Compute features of frozen encoders once; keep them in an artifact directory and reuse them while it is intact."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cl_core.artifact_dir import is_intact, publish, staging
from cl_core.columns import Rows
from cl_core.data.column_files import ColumnWriter, mapped
from cl_core.errors import TrainingError
from cl_core.failpoints import failpoint
from cl_core.modalities._processor import laid_out
from cl_core.specs import Precision

_IDS, _FEATURES = ".id.npy", ".features.npy"


class SplitFeatures(NamedTuple):
    """Features of one split, in the order of the rows they were made of; read from the disk when they are used."""

    ids: NDArray[np.uint8]  # (N, 32) content hashes.
    embeddings: NDArray[np.float32]  # (N, F), not normalized.


class FeatureBlocks(NamedTuple):
    """Features of one split that are yet to be computed."""

    ids: NDArray[np.uint8]  # (N, 32) content hashes.
    blocks: Iterable[NDArray[np.float32]]  # (n, F) each, in the order of the ids; at least one.


def extract(
    encoder: nn.Module,
    rows: Rows,
    *,
    processor: nn.Module,
    batch_size: int,
    device: torch.device | str,
    precision: Precision,
    channels_last: bool,
) -> NDArray[np.float32]:
    """Return features of samples, by the encoder as it is used: evaluation mode, no gradients, no views.

    `rows` are as they are cached, N at least 1, such as (N, H, W, C) uint8, of each column. The processor turns them
    into what the encoder takes; both are on `device` already. The encoder gives (B, F), and keeps its modes.

    Returns:
        (N, F) float32, not normalized.

    Raises:
        TrainingError: When a feature is NaN or infinite.
    """
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    starts = range(0, len(rows[0]), batch_size)
    blocks = ([torch.tensor(column[start : start + batch_size], device=device) for column in rows] for start in starts)
    try:
        with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16, precision == "bf16"):
            batches = [
                encoder(laid_out(processor(tuple(block)), channels_last=channels_last)).float().cpu().numpy()
                for block in blocks
            ]
    finally:
        for module, training in modes.items():
            module.training = training
    features: NDArray[np.float32] = np.concatenate(batches)
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features).all(axis=1)).sum())
        raise TrainingError(
            f"the encoder's features of {bad} of {len(features)} samples are NaN or infinite; "
            "its weights are unusable: lower the learning rate, or train with precision fp32"
        )
    return features


def cached_features(
    path: Path, compute: Callable[[], Mapping[str, FeatureBlocks]], metadata: Mapping[str, str]
) -> dict[str, SplitFeatures]:
    """Return the features at `path`; compute and store them first unless an intact directory exists.

    The name of the directory is a digest of the encoder's weights, the data and how they are fed. One block of features
    is in memory at a time.

    Returns:
        By split; bit-identical whether computed now or earlier.

    Raises:
        StorageFullError: When the disk is full; no partial files remain.
    """
    if not is_intact(path):
        splits = compute()
        with staging(path.parent) as staged:
            for split, features in splits.items():
                _write(staged, split, features)
            failpoint("evaluate.features-computed")
            publish(staged, path, {**metadata, "splits": list(splits)})
    names = [file.name.removesuffix(_FEATURES) for file in sorted(path.glob(f"*{_FEATURES}"))]
    return {name: SplitFeatures(mapped(path / f"{name}{_IDS}"), mapped(path / f"{name}{_FEATURES}")) for name in names}


def _write(folder: Path, split: str, features: FeatureBlocks) -> None:
    blocks = iter(features.blocks)
    first = next(blocks)
    with (
        ColumnWriter(folder / f"{split}{_IDS}", shape=features.ids.shape[1:], dtype=np.uint8) as ids,
        ColumnWriter(folder / f"{split}{_FEATURES}", shape=first.shape[1:], dtype=np.float32) as embeddings,
    ):
        ids.add(features.ids)
        for block in chain([first], blocks):
            embeddings.add(block)
