import random

import pyarrow as pa
import pytest

from cl_core.data.ingest import external_sort
from cl_core.data.ingest.external_sort import ExternalSort

SCHEMA = pa.schema([("key", pa.string()), ("number", pa.int64()), ("body", pa.binary())])


@pytest.mark.parametrize("run_bytes", [1, 2000, 1 << 20], ids=["a run per batch", "some runs", "one run"])
@pytest.mark.parametrize("fan_in", [2, 32])
def test_rows_come_back_in_the_order_of_python(tmp_path, monkeypatch, run_bytes, fan_in):
    monkeypatch.setattr(external_sort, "FAN_IN", fan_in)
    monkeypatch.setattr(external_sort, "_BATCH_BYTES", 200)
    draw = random.Random(0)
    rows = [(draw.choice(["", "a", "ä", "Z", "\U0001f600"]), draw.randrange(50), draw.randbytes(9)) for _ in range(500)]
    sort = ExternalSort(SCHEMA, keys=3, folder=tmp_path, run_bytes=run_bytes)
    for start in range(0, 500, 20):
        sort.add(rows[start : start + 20])
    assert list(sort.rows()) == sorted(rows)


def test_rows_can_be_read_twice(tmp_path):
    sort = ExternalSort(SCHEMA, keys=1, folder=tmp_path)
    sort.add([("b", 1, b""), ("a", 2, b"")])
    assert list(sort.rows()) == list(sort.rows()) == [("a", 2, b""), ("b", 1, b"")]


def test_nothing_added_is_no_rows(tmp_path):
    assert list(ExternalSort(SCHEMA, keys=1, folder=tmp_path).rows()) == []
