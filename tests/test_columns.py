"""Columns: rows of one shape, and rows of several lengths that are padded when they are taken."""

from pathlib import Path

import numpy as np
import pytest

from cl_core.columns import Column, RaggedColumn, padded
from cl_core.data.column_files import ColumnWriter, mapped

LENGTHS = [3, 0, 5, 1]


def ragged(dtype: str) -> RaggedColumn:
    """Rows of 3, 0, 5 and 1 pairs, numbered from 1 on."""
    values = np.arange(1, 2 * sum(LENGTHS) + 1).reshape(-1, 2).astype(dtype)
    return RaggedColumn(values, np.cumsum([0, *LENGTHS]), longest=6)


@pytest.mark.parametrize(("dtype", "padding"), [("uint8", 0), ("float32", np.nan)])
def test_rows_of_several_lengths_are_padded_to_the_longest(dtype: str, padding: float) -> None:
    column = ragged(dtype)
    assert len(column) == 4 and column.shape == (6, 2)
    rows = column.take(slice(None))
    assert rows.shape == (4, 6, 2) and rows.dtype == dtype
    for row, length, start in zip(rows, LENGTHS, [0, 3, 3, 8], strict=True):
        np.testing.assert_array_equal(row[:length], column.values[start : start + length])
        np.testing.assert_array_equal(row[length:], np.full((6 - length, 2), padding))


def test_rows_are_selected_again_and_again_and_taken_in_blocks() -> None:
    column = ragged("float32")
    whole = column.take(slice(None))
    picked = column.select(np.array([3, 0, 2])).select(slice(1, None)).select(np.array([1, 0, 1]))
    np.testing.assert_array_equal(picked.take(slice(None)), whole[[2, 0, 2]])
    np.testing.assert_array_equal(picked.take(np.array([1])), whole[[0]])
    np.testing.assert_array_equal(np.concatenate(list(picked.blocks(2))), whole[[2, 0, 2]])


def test_a_single_row_is_padded_as_a_column_pads_it() -> None:
    column = ragged("float32")
    row = column.values[3:8]
    np.testing.assert_array_equal(padded(row, (6, 2)), column.take(np.array([2]))[0])
    assert padded(row, (5, 2)) is row


def test_a_file_says_how_many_rows_it_has_once_they_are_written(tmp_path: Path) -> None:
    """The number is not known before, for values of rows of several lengths."""
    with ColumnWriter(tmp_path / "a.npy", shape=(2,), dtype=np.int32) as writer:
        for start in range(0, 12_345, 1000):
            writer.add(np.arange(start, min(start + 1000, 12_345))[:, None] * [1, 2])
    found = mapped(tmp_path / "a.npy")
    assert found.shape == (12_345, 2) and found.dtype == np.int32
    np.testing.assert_array_equal(found, np.arange(12_345)[:, None] * [1, 2])
    # As NumPy itself would have written it.
    np.save(tmp_path / "b.npy", found)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_columns_of_one_shape_give_the_same_through_positions() -> None:
    column = Column(np.arange(10))
    assert column.select(np.array([9, 1])).take(slice(None)).tolist() == [9, 1]
