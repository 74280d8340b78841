"""The training split for a GPU gives what the one for a CPU gives; its rows lie in the device's memory, or are sent."""

import numpy as np
import pytest
import torch

from cl_core.columns import AnyColumn, Column, Columns, RaggedColumn, SamplePool
from cl_core.rng import SampleRng
from cl_core.training.device_pool import DevicePool, rows_on

ROWS = 9000  # More than are copied at once, and no multiple of it.
RANDOM = np.random.default_rng(0)
SOME = np.sort(RANDOM.choice(ROWS, ROWS - 700, replace=False))
COLUMNS: dict[str, AnyColumn] = {
    "images": Column(RANDOM.integers(0, 256, (ROWS, 3, 2, 1), np.uint8)),
    "some images": Column(RANDOM.integers(0, 256, (ROWS, 3, 2, 1), np.uint8), SOME),
    "vectors": Column(RANDOM.normal(size=(ROWS, 5)).astype(np.float32)),
    "texts": RaggedColumn(np.arange(3 * ROWS, dtype=np.int32), 3 * np.arange(ROWS + 1) - np.arange(ROWS + 1) % 2, 4),
}
positions = np.array([[5, 8000, 0], [8000, 4096, 17]])


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("fits", [True, False])
def test_its_rows_are_those_of_the_columns(name: str, fits: bool) -> None:
    columns = Columns({"first": COLUMNS[name], "second": COLUMNS["images"].select(slice(0, len(COLUMNS[name])))})
    plain, pool = SamplePool(columns), DevicePool(columns, "cpu", rows_on("cpu", columns) if fits else ())
    rng = SampleRng(3, 1, np.arange(4, dtype=np.uint64))
    assert len(pool.rows) == (2 if fits else 0) and len(pool) == len(plain)
    for ours, wanted in (
        (pool.batch(positions), plain.batch(positions)),
        (pool.batch(positions[0]), plain.batch(positions[0])),
        (pool.partners(rng, count=2), plain.partners(rng, count=2)),
    ):
        assert [(rows.dtype, rows.shape) for rows in ours] == [(rows.dtype, rows.shape) for rows in wanted]
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours, wanted, strict=True))


@pytest.mark.parametrize("fits", [True, False])
def test_its_single_values_are_those_of_the_column(fits: bool) -> None:
    columns = Columns({"vector": COLUMNS["vectors"]})
    pool = DevicePool(columns, "cpu", rows_on("cpu", columns) if fits else ())
    chosen = np.array([[0, 4, 2], [1, 1, 3]])
    wanted = COLUMNS["vectors"].take(positions.ravel())[np.arange(6), chosen.ravel()].reshape(2, 3)
    assert pool.values(positions, chosen).numpy().tolist() == wanted.tolist()
