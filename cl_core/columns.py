"""Columns of a split: rows of numbers that stay on the disk until they are taken. A modality has one or more.

A column is a `.npy` file that is mapped into memory. So a split may be larger than the memory, and all processes of a
machine share what is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cl_core.rng import SampleRng

if TYPE_CHECKING:
    import torch
    from torch import Tensor

I64 = NDArray[np.int64]
Rows = tuple[NDArray[Any], ...]
"""An array for each column of a modality, in their order: (N, *row), or one sample's row."""
Batch = tuple["Tensor", ...]
"""The rows of some samples as tensors: (B, *row) for each column of their modality, in their order."""


@dataclass(frozen=True)
class Column:
    """Rows of one shape, such as images of one size."""

    values: NDArray[Any]  # (M, ...) of any type, mapped or in memory.
    positions: I64 | None = None  # (N,) the rows of `values` that this column has, in its order; None for all.

    def __len__(self) -> int:
        return len(self.values if self.positions is None else self.positions)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row."""
        return self.values.shape[1:]

    def take(self, chosen: I64 | slice) -> NDArray[Any]:
        """Return some rows, by position, as an array of its own: (n, ...)."""
        where = chosen if self.positions is None else self.positions[chosen]
        rows: NDArray[Any] = self.values[where]
        return rows.copy() if isinstance(where, slice) else rows

    def select(self, chosen: I64 | slice) -> "Column":
        """Return the column of some rows, by position, without reading them."""
        if self.positions is None and isinstance(chosen, slice):
            return Column(self.values[chosen])
        return Column(self.values, np.arange(len(self))[chosen] if self.positions is None else self.positions[chosen])

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Yield all rows in order, at most so many at a time."""
        for start in range(0, len(self), rows):
            yield self.take(slice(start, start + rows))


@dataclass(frozen=True)
class RaggedColumn:
    """Rows of several lengths, such as texts. Only what they have is kept; taken, all are padded to one length.

    Padding is NaN of floats, and 0 of all else.
    """

    values: NDArray[Any]  # (T, ...) the rows one after another, mapped or in memory.
    offsets: I64  # (M + 1,) where each row begins in `values`, and where the last one ends.
    longest: int  # Length to which rows are padded.
    positions: I64 | None = None  # (N,) the rows that this column has, in its order; None for all.

    def __len__(self) -> int:
        return len(self.offsets) - 1 if self.positions is None else len(self.positions)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row as it is taken."""
        return self.longest, *self.values.shape[1:]

    def take(self, chosen: I64 | slice) -> NDArray[Any]:
        """Return some rows, by position, as an array of its own: (n, longest, ...)."""
        where = np.arange(len(self.offsets) - 1) if self.positions is None else self.positions
        where = where[chosen]
        rows = np.full((len(where), *self.shape), padding(self.values.dtype), self.values.dtype)
        for row, start, stop in zip(rows, self.offsets[where], self.offsets[where + 1], strict=True):
            row[: stop - start] = self.values[start:stop]
        return rows

    def select(self, chosen: I64 | slice) -> "RaggedColumn":
        """Return the column of some rows, by position, without reading them."""
        where = np.arange(len(self))[chosen] if self.positions is None else self.positions[chosen]
        return RaggedColumn(self.values, self.offsets, self.longest, where)

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Yield all rows in order, at most so many at a time."""
        for start in range(0, len(self), rows):
            yield self.take(slice(start, start + rows))


def padding(dtype: DTypeLike) -> float:
    """Return what shorter rows of a type are padded with."""
    return np.nan if np.dtype(dtype).kind == "f" else 0


def padded(row: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return one row padded to a shape; one that has it is returned as it is."""
    if row.shape == shape:
        return row
    whole = np.full(shape, padding(row.dtype), row.dtype)
    whole[: len(row)] = row
    return whole


AnyColumn = Column | RaggedColumn


@dataclass(frozen=True)
class Columns:
    """All columns of some samples."""

    by_name: Mapping[str, AnyColumn]  # N rows each, in the order in which their modality names them.

    def __len__(self) -> int:
        return len(next(iter(self.by_name.values())))

    def take(self, chosen: I64 | slice) -> Rows:
        """Return some rows, by position, as arrays of their own: (n, ...) each."""
        return tuple(column.take(chosen) for column in self.by_name.values())

    def side(self, number: int) -> "Columns":
        """Return one of the columns, by its number: that of a side of pairs."""
        return Columns(dict([list(self.by_name.items())[number]]))

    def select(self, chosen: I64 | slice) -> "Columns":
        """Return the columns of some rows, by position, without reading them."""
        return Columns({name: column.select(chosen) for name, column in self.by_name.items()})

    def blocks(self, rows: int) -> Iterator[Rows]:
        """Yield all rows in order, at most so many at a time."""
        for start in range(0, len(self), rows):
            yield self.take(slice(start, start + rows))


@dataclass(frozen=True)
class Split:
    """Samples of a split, sorted by id."""

    columns: Columns  # Those of the snapshot, N rows each.
    ids: NDArray[np.uint8]  # (N, 32) the sha256 of each payload.
    sample_ids: NDArray[np.uint64]  # (N,) the leading 64 bits of the ids, big-endian.
    # (N,) index into the snapshot's classes, -1 without a label; None when the dataset has none.
    labels: I64 | None
    # (N,) the same for samples that are kept in one split; None when each sample is drawn by itself.
    groups: NDArray[np.uint64] | None = None
    # (N,) the same for samples that are the same thing, the sample id of one; None where each is its own.
    identities: NDArray[np.uint64] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def column(self) -> AnyColumn:
        """Return the column of a modality that has one."""
        (column,) = self.columns.by_name.values()
        return column

    def select(self, chosen: I64 | slice) -> "Split":
        """Return some samples, by position; their rows are not read."""
        others = {name: getattr(self, name) for name in ("labels", "groups", "identities")}
        chosen_others = {name: None if values is None else values[chosen] for name, values in others.items()}
        return Split(self.columns.select(chosen), self.ids[chosen], self.sample_ids[chosen], **chosen_others)


# A policy draws from one stream per view, numbered from 0; partners are drawn from a stream above them all.
_PARTNER_STREAM = 1 << 15


def sent(values: NDArray[np.generic], device: "str | torch.device") -> "Tensor":
    """Return an array on a device. To a GPU it is copied from pinned memory, so that the host does not wait for it."""
    import torch

    tensor = torch.from_numpy(values)
    return tensor if torch.device(device).type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class SamplePool:
    """The training split, of which views take what they mix a sample with."""

    columns: Columns
    device: str = "cpu"
    # Memory of earlier views that nothing uses any more, by its bytes; it is freed with the pool.
    spare: dict[int, list[NDArray[np.uint8]]] = field(default_factory=dict, kw_only=True, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.columns)

    def batch(self, positions: I64) -> Batch:
        """Return the rows at some positions, (..., *row) of each column, on the device."""
        import torch

        taken = (rows.reshape(*positions.shape, *rows.shape[1:]) for rows in self.columns.take(positions.ravel()))
        return tuple(torch.from_numpy(rows).to(self.device, non_blocking=True) for rows in taken)

    def of_side(self, side: int) -> "SamplePool":
        """Return the pool of one side of pairs, which have a column for each."""
        return replace(self, columns=self.columns.side(side))

    def values(self, positions: I64, chosen: I64) -> "Tensor":
        """Return single values, on the device: number `chosen` of the rows at `positions`, (B, n) all three.

        Asked of a modality with one column of vectors.
        """
        import torch

        (column,) = self.columns.by_name.values()
        assert isinstance(column, Column), "rows of several lengths have no value number n"
        rows = positions if column.positions is None else column.positions[positions]
        return torch.from_numpy(column.values[rows, chosen]).to(self.device, non_blocking=True)

    def partners(self, rng: SampleRng, *, count: int) -> Batch:
        """Return rows to mix each sample with, (count, B, *row): a pure function of seed, epoch and sample.

        Each is drawn from the whole split, all equally likely, whatever the others are. So a sample is its own partner
        once in as many draws as there are rows, and mixing then leaves it as it is. The first ones do not depend on
        `count`.
        """
        return self.batch(rng.positions(stream=_PARTNER_STREAM, count=count, size=len(self)))
