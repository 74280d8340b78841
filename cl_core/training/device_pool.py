"""The training split for a GPU: in its memory where it fits, else sent from pinned memory beside its work."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cl_core.columns import Batch, Columns, SamplePool, sent

# Of the GPU's memory that is free before the first step. The encoder needs the rest.
_SHARE = 1 / 4
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class DevicePool(SamplePool):
    """A pool whose rows lie on the device."""

    rows: Batch = ()  # (N, *row) of each column; none where they do not fit.

    def batch(self, positions: NDArray[np.int64]) -> Batch:
        """Return the rows at some positions, (..., *row) of each column, on the device."""
        if self.rows:
            where = sent(positions, self.device)
            return tuple(rows[where] for rows in self.rows)
        taken = self.columns.take(positions.ravel())
        return tuple(sent(rows.reshape(*positions.shape, *rows.shape[1:]), self.device) for rows in taken)

    def of_side(self, side: int) -> SamplePool:
        """Return the pool of one side of pairs; see `SamplePool`."""
        return replace(self, columns=self.columns.side(side), rows=self.rows[side : side + 1])

    def values(self, positions: NDArray[np.int64], chosen: NDArray[np.int64]) -> Tensor:
        """Return single values, on the device; see `SamplePool`."""
        if not self.rows:
            return super().values(positions, chosen)
        (rows,) = self.rows
        return rows[sent(positions, self.device), sent(chosen, self.device)]


def pool_on(device: str, columns: Columns) -> SamplePool:
    """Return the pool of a training split; for a GPU, with its rows in the GPU's memory if they take little of it."""
    if device == "cpu":
        return SamplePool(columns)
    free, _ = torch.cuda.mem_get_info()
    row_bytes = sum(math.prod(rows.shape[1:]) * rows.itemsize for rows in columns.take(slice(0, 1)))
    fits = len(columns) * row_bytes <= _SHARE * free
    return DevicePool(columns, device, rows_on(device, columns) if fits else ())


def rows_on(device: str, columns: Columns) -> Batch:
    """Copy all rows to a device: (N, *row) of each column."""
    first = columns.take(slice(0, 1))
    copied = tuple(
        torch.empty((len(columns), *rows.shape[1:]), dtype=torch.from_numpy(rows).dtype, device=device)
        for rows in first
    )
    for number, block in enumerate(columns.blocks(_ROWS_AT_ONCE)):
        start = number * _ROWS_AT_ONCE
        for whole, rows in zip(copied, block, strict=True):
            whole[start : start + len(rows)] = torch.from_numpy(rows)
    return copied
