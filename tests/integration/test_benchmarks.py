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
        pytest.param("read", "| Ray Data |", 1, marks=pytest.mark.sweep),
        pytest.param("resume", "| stopped and resumed |", 1, marks=pytest.mark.sweep),
        pytest.param("epoch", "| lightly |", 1, marks=pytest.mark.sweep),
        pytest.param("texts", "| here, words", 2, marks=pytest.mark.sweep),
        pytest.param("evaluation", "| scikit-learn |", 2, marks=pytest.mark.sweep),
        pytest.param("ingest", "| here, ", 2, marks=pytest.mark.sweep),
        pytest.param("growth", "| 200 | ", 4, marks=pytest.mark.sweep),
        pytest.param("cold_start", "| cl retrain, nothing changed |", 1, marks=pytest.mark.sweep),
        pytest.param("demo", "| the whole program |", 1, marks=pytest.mark.sweep),
        pytest.param("gpu", "| 512 |", 1, marks=pytest.mark.sweep),
        pytest.param("orchestration", "| cl retrain |", 1, marks=pytest.mark.sweep),
    ],
)
def test_a_block_has_its_rows(block: str, row: str, rows: int) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{block}.py", "--small"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(row) >= rows, done.stdout
