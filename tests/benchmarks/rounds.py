"""Contestants that alternate in one process, and what the machine could do beside them.

Absolute times of a shared machine say little: contestants are compared within a round, and the median of the rounds'
ratios counts. Each round also measures the machine itself; where that drifts, the comparison is void.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from cl_core import processes

MOST_DRIFT = 0.15
_COPIED = 64 * 2**20  # Bytes
_SIDE = 2048
_LEAST_S = 0.3  # Of a contestant in a round, who runs as often as needed.


class Contestant(NamedTuple):
    """What is compared. `run` does the work once and returns how many units that were, such as pairs of views."""

    run: Callable[[], int]
    threads: int = 1


class Measured(NamedTuple):
    rates: dict[str, list[float]]  # Units per second by contestant, one for each round.
    cpu_rates: dict[str, list[float]]  # Units per second of a core, which other programs disturb less.
    machine: dict[str, list[float]]  # GB/s of a copy, and GFLOP/s of a bf16 product.

    def against(self, name: str, other: str) -> list[float]:
        """How many times as fast, in each round."""
        return [mine / its for mine, its in zip(self.rates[name], self.rates[other], strict=True)]

    @property
    def drift(self) -> float:
        """The largest distance of a measurement of the machine from its median, as a share of it."""
        return max(abs(value / statistics.median(values) - 1) for values in self.machine.values() for value in values)


def measure(contestants: Mapping[str, Contestant], *, rounds: int) -> Measured:
    """Let all run once to warm up, then in turns."""
    copied, product = torch.zeros(_COPIED, dtype=torch.uint8), torch.rand(_SIDE, _SIDE).bfloat16()
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    cpu_rates: dict[str, list[float]] = {name: [] for name in contestants}
    machine: dict[str, list[float]] = {"copy": [], "bf16 product": []}
    for turn in range(rounds + 1):
        torch.set_num_threads(max(one.threads for one in contestants.values()))
        copy = 2 * _COPIED / _seconds(copied.clone) / 1e9
        multiply = 2 * _SIDE**3 / _seconds(lambda: product @ product) / 1e9
        for name, contestant in contestants.items():
            torch.set_num_threads(contestant.threads)
            units, began, ended, cpu_began = 0, time.perf_counter(), 0.0, time.process_time()
            while ended < began + (_LEAST_S if turn else 0):
                units += contestant.run()
                ended = time.perf_counter()
            if turn:  # The first round warms up.
                rates[name].append(units / (ended - began))
                cpu_rates[name].append(units / (time.process_time() - cpu_began))
        if turn:
            machine["copy"].append(copy)
            machine["bf16 product"].append(multiply)
    return Measured(rates, cpu_rates, machine)


def end_if_void(*measured: Measured, small: bool) -> None:
    """Print how far the machine drifted, and end with an error where that makes the comparison void.

    Args:
        measured: All that was compared.
        small: Whether it was only to see that everything runs.
    """
    drift = max(one.drift for one in measured)
    print(f"\nDrift of the machine: {drift:.0%}.")
    if drift > MOST_DRIFT and not small:
        raise SystemExit(f"void: at most {MOST_DRIFT:.0%} of drift is allowed; run it again where nothing else runs")


def _seconds(work: Callable[[], object]) -> float:
    """Return the shortest of five tries: the others were disturbed."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def this_machine() -> str:
    """One line on where this was measured."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{processes.cpu_count()} CPUs, {model}, {versions}, load {os.getloadavg()[0]:.1f}"


def spread(values: list[float], form: str = "{:,.1f}") -> str:
    """The median, with the smallest and the largest."""
    shown = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return "{} ({} to {})".format(*shown)
