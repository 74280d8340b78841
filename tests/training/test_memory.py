"""The peak of a training's memory is that of the training, not of what the process did before."""

import subprocess
import sys

MEBIBYTE = 1 << 20
# In small processes of their own: of a large one the system takes cold pages away meanwhile.
_FORGET = """
import numpy as np
from cl_core.training.progress import forget_peak, peak_bytes
held = np.ones(200 << 20, np.uint8)
print(peak_bytes())
del held
forget_peak()
print(peak_bytes())
later = np.ones(100 << 20, np.uint8)
print(peak_bytes())
"""


def printed_by(program: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


def test_a_peak_from_before_is_forgotten_and_a_later_one_is_seen() -> None:
    first, before, later = printed_by(_FORGET)
    assert first > 200 * MEBIBYTE
    assert before < first - 150 * MEBIBYTE
    assert 90 * MEBIBYTE < later - before < 150 * MEBIBYTE


def test_a_small_process_has_a_small_peak() -> None:
    (peak,) = printed_by("from cl_core.training.progress import peak_bytes; print(peak_bytes())")
    assert 5 * MEBIBYTE < peak < 200 * MEBIBYTE
