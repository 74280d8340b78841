"""Contestants that alternate in one process, and what the machine could do beside them.

Absolute times of a shared machine say little: contestants are compared within a round, and the median of the rounds'
ratios counts. Each round also measures the machine itself, and does not count where that was disturbed.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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
_MOST_ROUNDS = 3  # Times as many as are asked for.


class Contestant(NamedTuple):
    """What is compared. `run` does the work once and returns how many units that were, such as pairs of views."""

    run: Callable[[], int]
    threads: int = 1


class Machine:
    """What the machine can do from time to time: a large copy, and a product in the precision that is fast here."""

    def __init__(self) -> None:
        # New memory would measure how the system gives it: whether in huge pages changes from one second to the next.
        self.copied, self.copy = (torch.zeros(_COPIED, dtype=torch.uint8) for _ in range(2))
        self.factor = torch.rand(_SIDE, _SIDE)
        if fast_precision(on_gpu=False) == "bf16":  # Elsewhere it is emulated, and tens of times slower.
            self.factor = self.factor.bfloat16()

    def measured(self) -> dict[str, float]:
        """Return GB/s of the copy and GFLOP/s of the product now, by as many threads as torch has."""
        return {
            "copy": 2 * _COPIED / _seconds(lambda: self.copy.copy_(self.copied)) / 1e9,
            "product": 2 * _SIDE**3 / _seconds(lambda: self.factor @ self.factor) / 1e9,
        }


class Round(NamedTuple):
    """What each contestant did in a round, and what the machine could do at its beginning."""

    rates: dict[str, float]  # Units per second by contestant.
    cpu_rates: dict[str, float]  # Units per second of a core, which other programs disturb less.
    machine: dict[str, float]  # GB/s of a copy, and GFLOP/s of a product in the precision that is fast here.


class Measured(NamedTuple):
    title: str  # What was compared.
    rounds: list[Round]
    passed_over: int  # Rounds that do not count.

    @property
    def rates(self) -> dict[str, list[float]]:
        """Units per second by contestant, one for each round."""
        return {name: [one.rates[name] for one in self.rounds] for name in self.rounds[0].rates}

    @property
    def cpu_rates(self) -> dict[str, list[float]]:
        """Units per second of a core by contestant, one for each round."""
        return {name: [one.cpu_rates[name] for one in self.rounds] for name in self.rounds[0].cpu_rates}

    def against(self, name: str, other: str) -> list[float]:
        """How many times as fast, in each round."""
        return [one.rates[name] / one.rates[other] for one in self.rounds]

    @property
    def drift(self) -> float:
        """The largest distance of a measurement of the machine from its median, as a share of it."""
        return drift([one.machine for one in self.rounds])


def measure(contestants: Mapping[str, Contestant], *, rounds: int, title: str = "") -> Measured:
    """Let all run once to warm up, then in turns, until the machine has been alike in so many rounds.

    What a machine can do that is shared with others changes within seconds. A round does not count where that is more
    than `MOST_DRIFT` away from the median, and another follows, up to three times as many. The machine alone decides
    it, never what the contestants did. If too few count, all do, and the comparison is void (`end_if_void`).
    """
    machine, done = Machine(), list[Round]()
    for turn in range(_MOST_ROUNDS * rounds + 1):
        torch.set_num_threads(max(one.threads for one in contestants.values()))
        now = machine.measured()
        taken = {name: _rates(one, least_s=_LEAST_S if turn else 0) for name, one in contestants.items()}
        if not turn:  # It warms up.
            continue
        by_clock, by_cpu = ({name: both[kind] for name, both in taken.items()} for kind in (0, 1))
        done.append(Round(by_clock, by_cpu, now))
        if len(counted := _alike(done)) == rounds:
            return Measured(title, counted, len(done) - rounds)
    return Measured(title, done, 0)


def _rates(contestant: Contestant, *, least_s: float) -> tuple[float, float]:
    """Let a contestant run for so long at least: return its units per second, and per second of a core."""
    torch.set_num_threads(contestant.threads)
    units, began, ended, cpu_began = 0, time.perf_counter(), 0.0, time.process_time()
    while ended < began + least_s:
        units += contestant.run()
        ended = time.perf_counter()
    return units / (ended - began), units / (time.process_time() - cpu_began)


def _alike(rounds: list[Round]) -> list[Round]:
    """Return the rounds in which the machine was within `MOST_DRIFT` of its median in these."""
    while rounds and max(distances := _distances([one.machine for one in rounds])) > MOST_DRIFT:
        rounds = [one for one, distance in zip(rounds, distances, strict=True) if distance <= MOST_DRIFT]
    return rounds


def drift(measured: Sequence[Mapping[str, float]]) -> float:
    """Return the largest distance of a measurement of the machine from the median of all, as a share of it."""
    return max(_distances(measured))


def _distances(measured: Sequence[Mapping[str, float]]) -> list[float]:
    """How far each measurement of the machine is from the median of all, as a share of it."""
    medians = {name: statistics.median(other[name] for other in measured) for name in measured[0]}
    return [max(abs(value / medians[name] - 1) for name, value in one.items()) for one in measured]


def end_if_void(*measured: Measured, small: bool) -> None:
    """Print how far the machine drifted, and keep the rates of what it was quiet enough for; end with an error if not.

    Args:
        measured: All that was compared.
        small: Whether it was only to see that everything runs.
    """
    for one in measured:
        rounds = len(one.rounds) + one.passed_over
        of = f" ({one.title})" if one.title else ""
        print(f"\nDrift of the machine{of}: {one.drift:.0%}; {one.passed_over} of {rounds} rounds did not count.")
    if small:
        return
    counted = [one for one in measured if one.drift <= MOST_DRIFT]
    if counted:
        _KEPT.mkdir(parents=True, exist_ok=True)
        rates = {one.title: one.rates for one in counted}
        block = Path(sys.argv[0]).stem
        (_KEPT / f"{block}.json").write_text(json.dumps({"machine": this_machine(), "rates": rates}), encoding="utf-8")
    if len(counted) < len(measured):
        void = ", ".join(one.title for one in measured if one not in counted)
        limit = f"at most {MOST_DRIFT:.0%} of drift is allowed; run it again where nothing else runs"
        raise SystemExit(f"void: {void}: {limit}" if void else f"void: {limit}")


def kept_rates(block: str) -> dict[str, dict[str, list[float]]]:
    """Return what the newest run of a block kept, for `charts.py`: units a second in each round, by title and name.

    Raises:
        FileNotFoundError: When there was none that was not void.
    """
    rates: dict[str, dict[str, list[float]]] = json.loads((_KEPT / f"{block}.json").read_text(encoding="utf-8"))[
        "rates"
    ]
    return rates


def ended(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; where it fails, so does this one, with what it said."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stderr}")
    return done


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
