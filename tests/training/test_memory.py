"""The peak of a training's memory is that of the training, not of what the process did before."""

import subprocess
import sys

import numpy as np

from cl_core.training.progress import forget_peak, peak_bytes

MEBIBYTE = 1 << 20


def test_a_peak_from_before_is_forgotten_and_a_later_one_is_seen() -> None:
    held = np.ones(200 * MEBIBYTE, np.uint8)
    assert peak_bytes() > 200 * MEBIBYTE
    del held
    forget_peak()
    before = peak_bytes()
    later = np.ones(100 * MEBIBYTE, np.uint8)
    assert 90 * MEBIBYTE < peak_bytes() - before < 150 * MEBIBYTE
    del later


def test_a_small_process_has_a_small_peak() -> None:
    program = "from cl_core.training.progress import peak_bytes; print(peak_bytes())"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert 5 * MEBIBYTE < int(printed) < 200 * MEBIBYTE
