"""Contestants that alternate in one process, and what the machine could do beside them.

Absolute times of a shared machine say little: contestants are compared within a round, and the median of the rounds'
ratios counts. Each round also measures the machine itself; where that drifts, the comparison is void.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

from cl_core import processes
from cl_core.training.precision import fast_precision

MOST_DRIFT = 0.15
_KEPT = Path(__file__).parents[2] / "build" / "bench"
_COPIED = 64 * 2**20  # Bytes
_SIDE = 2048
_LEAST_S = 0.3  # Of a contestant in a round, who runs as often as needed.


class Contestant(NamedTuple):
    """What is compared. `run` does the work once and returns how many units that were, such as pairs of views."""

    run: Callable[[], int]
    threads: int = 1


class Measured(NamedTuple):
    title: str  # What was compared.
    rates: dict[str, list[float]]  # Units per second by contestant, one for each round.
    cpu_rates: dict[str, list[float]]  # Units per second of a core, which other programs disturb less.
    machine: dict[str, list[float]]  # GB/s of a copy, and GFLOP/s of a product in the precision that is fast here.

    def against(self, name: str, other: str) -> list[float]:
        """How many times as fast, in each round."""
        return [mine / its for mine, its in zip(self.rates[name], self.rates[other], strict=True)]

    @property
    def drift(self) -> float:
        """The largest distance of a measurement of the machine from its median, as a share of it."""
        return max(abs(value / statistics.median(values) - 1) for values in self.machine.values() for value in values)


def measure(contestants: Mapping[str, Contestant], *, rounds: int, title: str = "") -> Measured:
    """Let all run once to warm up, then in turns."""
    copied, product = torch.zeros(_COPIED, dtype=torch.uint8), torch.rand(_SIDE, _SIDE)
    if fast_precision(on_gpu=False) == "bf16":  # Elsewhere it is emulated, and tens of times slower.
        product = product.bfloat16()
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    cpu_rates: dict[str, list[float]] = {name: [] for name in contestants}
    machine: dict[str, list[float]] = {"copy": [], "product": []}
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
            machine["product"].append(multiply)
    return Measured(title, rates, cpu_rates, machine)


def end_if_void(*measured: Measured, small: bool) -> None:
    """Print how far the machine drifted; end with an error where that makes the comparison void, else keep the rates.

    Args:
        measured: All that was compared.
        small: Whether it was only to see that everything runs.
    """
    drift = max(one.drift for one in measured)
    print(f"\nDrift of the machine: {drift:.0%}.")
    if drift > MOST_DRIFT and not small:
        raise SystemExit(f"void: at most {MOST_DRIFT:.0%} of drift is allowed; run it again where nothing else runs")
    if not small:
        _KEPT.mkdir(parents=True, exist_ok=True)
        rates = {one.title: one.rates for one in measured}
        block = Path(sys.argv[0]).stem
        (_KEPT / f"{block}.json").write_text(json.dumps({"machine": this_machine(), "rates": rates}), encoding="utf-8")


def kept_rates(block: str) -> dict[str, dict[str, list[float]]]:
    """Return what the newest run of a block kept, for `charts.py`: units a second in each round, by title and name.

    Raises:
        FileNotFoundError: When there was none that was not void.
    """
    rates: dict[str, dict[str, list[float]]] = json.loads((_KEPT / f"{block}.json").read_text(encoding="utf-8"))[
        "rates"
    ]
    return rates


def installed(library: str) -> bool:
    """Return whether a library can be imported, and name it where it cannot: then it is not compared with."""
    is_found = find_spec(library) is not None
    if not is_found:
        print(f"{library} is not installed", file=sys.stderr)
    return is_found


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
