"""Batches of many thousands on one machine: memory grows with the batch, and time is that of its matrix products."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Most of two minutes; smaller batches are in the other tests of losses.
pytestmark = [pytest.mark.sweep, pytest.mark.timeout(900)]

ROWS = [16_384, 32_768, 65_536]


@pytest.fixture(scope="module")
def measured():
    """InfoNCE forward and backward on so many rows of 128 features, one thread, each in a process of its own."""
    script, found = Path(__file__).with_name("large_batch.py"), {}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for rows in ROWS:
        command = [sys.executable, str(script), str(rows), *(["check"] if rows == ROWS[0] else [])]
        output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        found[rows] = json.loads(output)
    print(json.dumps(found, indent=1))
    return found


def test_65536_rows_take_less_than_a_gigabyte(measured):
    """All similarities at once would be 17 GB, and their gradient as much again."""
    assert measured[65_536]["extra_bytes"] < 1e9


@pytest.mark.parametrize("rows", ROWS)
def test_memory_is_a_few_times_that_of_the_rows_however_many(measured, rows):
    """Beside 64 MB for tiles and libraries. All similarities would be 128 to 512 times as large as the rows."""
    assert measured[rows]["extra_bytes"] < 6 * measured[rows]["rows_bytes"] + 64e6


def test_four_times_the_rows_take_about_four_times_the_memory(measured):
    """And not sixteen times."""
    assert measured[65_536]["extra_bytes"] < 8 * measured[16_384]["extra_bytes"]


@pytest.mark.parametrize("rows", ROWS)
def test_time_is_that_of_the_matrix_products(measured, rows):
    """Not that of comparing ids or of exponentials: less than twice the three products that the equation has."""
    assert measured[rows]["seconds"] < 2 * measured[rows]["products_seconds"]


def test_value_and_gradient_are_those_of_the_equation_in_float64(measured):
    assert measured[16_384]["value_error"] < 1e-6
    assert measured[16_384]["gradient_error"] < 5e-6
