"""A short round of each benchmark: whether it runs, never how fast."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_two_views_are_compared_with_those_of_other_libraries() -> None:
    command = [sys.executable, ROOT / "tests" / "benchmarks" / "views.py", "--small"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("x lightly, 1 core") >= 12
