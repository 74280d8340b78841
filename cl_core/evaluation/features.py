"""Features of frozen encoders: computed once, kept as a sealed directory, reused only when every byte is sound."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cl_core.artifact_dir import is_sound, publish, staging
from cl_core.errors import TrainingError
from cl_core.failpoints import failpoint
from cl_core.views import Normalization


class SplitFeatures(NamedTuple):
    """Features of one split, in the order of the rows they were made of."""

    ids: NDArray[np.uint8]  # (N, 32) content hashes.
    embeddings: NDArray[np.float32]  # (N, F), not normalised.


def extract(
    encoder: nn.Module,
    images: NDArray[np.uint8],
    *,
    normalization: Normalization,
    batch_size: int,
    device: torch.device | str,
    precision: Literal["bf16", "fp32"],
    channels_last: bool,
) -> NDArray[np.float32]:
    """Features of images, by the encoder as it is used: evaluation mode, no gradients, no views.

    Args:
        encoder: Maps (B, C, H, W) normalised float to (B, F); on `device` already. Its modes are left as they were.
        images: (N, H, W, C) uint8, N at least 1.
        normalization: What the encoder was trained with.
        batch_size: Images per forward pass.
        device: Where the encoder is.
        precision: Arithmetic of the forward pass.
        channels_last: Memory layout of the images.

    Returns:
        (N, F) float32, not normalised.

    Raises:
        TrainingError: When a feature is NaN or infinite.
    """
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    try:
        with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16, precision == "bf16"):
            batches = [
                encoder(_normalized(images[start : start + batch_size], normalization, device, channels_last))
                .float()
                .cpu()
                .numpy()
                for start in range(0, len(images), batch_size)
            ]
    finally:
        for module, training in modes.items():
            module.training = training
    features: NDArray[np.float32] = np.concatenate(batches)
    if not np.isfinite(features).all():
        broken = int((~np.isfinite(features).all(axis=1)).sum())
        raise TrainingError(
            f"the encoder's features of {broken} of {len(features)} images are NaN or infinite; "
            "its weights are of no use: lower the learning rate, or train with precision fp32"
        )
    return features


def cached_features(
    path: Path, compute: Callable[[], Mapping[str, SplitFeatures]], facts: Mapping[str, str]
) -> dict[str, SplitFeatures]:
    """The features kept at `path`; computed and kept first unless a sound directory stands there.

    Args:
        path: A directory whose name is a digest of the encoder's weights, the data and how they are fed.
        compute: Makes the features of each split.
        facts: What they are made from, kept in the manifest.

    Returns:
        By split; bit-identical whether computed now or before.

    Raises:
        StorageFullError: When the disk is full; nothing half-written remains.
    """
    if not is_sound(path):
        computed = compute()
        failpoint("evaluate.features-computed")
        with staging(path.parent) as staged:
            for split, features in computed.items():
                _write(staged / f"{split}.parquet", features)
            publish(staged, path, {**facts, "splits": list(computed)})
    return {file.stem: _read(file) for file in sorted(path.glob("*.parquet"))}


def _normalized(
    images: NDArray[np.uint8], normalization: Normalization, device: torch.device | str, channels_last: bool
) -> Tensor:
    """(B, H, W, C) uint8 to (B, C, H, W) float32, as the encoder expects it."""
    mean, std = (
        torch.tensor(values, device=device).view(-1, 1, 1) for values in (normalization.mean, normalization.std)
    )
    pixels = torch.tensor(images, device=device).permute(0, 3, 1, 2)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return (pixels.to(torch.float32, memory_format=layout) / 255 - mean) / std


def _write(file: Path, split: SplitFeatures) -> None:
    """One Parquet file: the id, and the row's float32 values as they lie in memory."""
    columns = {
        "id": _fixed_size_binary(split.ids),
        "features": _fixed_size_binary(np.ascontiguousarray(split.embeddings, dtype="<f4").view(np.uint8)),
    }
    pq.write_table(pa.table(columns), file, compression="NONE", use_dictionary=False, write_statistics=False)


def _read(file: Path) -> SplitFeatures:
    table = pq.read_table(file)
    ids, embeddings = (_bytes_of(table[name].combine_chunks()) for name in ("id", "features"))
    return SplitFeatures(ids.copy(), embeddings.copy().view("<f4"))


def _fixed_size_binary(rows: NDArray[np.uint8]) -> pa.FixedSizeBinaryArray:
    """(N, W) uint8 as an Arrow column of W bytes a row, without copying."""
    data = pa.py_buffer(np.ascontiguousarray(rows))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), len(rows), [None, data])


def _bytes_of(column: pa.FixedSizeBinaryArray) -> NDArray[np.uint8]:
    """(N, W) uint8 of an Arrow column of W bytes a row, without copying; read-only."""
    width = column.type.byte_width
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8, count=len(column) * width, offset=column.offset * width)
    return data.reshape(len(column), width)
