"""A short round of each benchmark: whether it runs, never how fast."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("block", "row", "rows"),
    [
        ("views", "x lightly, 1 core", 6),
        ("loss", "| 1,024 |", 2),
        pytest.param("cold_start", "| cl retrain, nothing changed |", 1, marks=pytest.mark.sweep),
    ],
)
def test_a_block_has_its_rows(block: str, row: str, rows: int) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{block}.py", "--small"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(row) >= rows, done.stdout
