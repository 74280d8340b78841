"""InfoNCE by tiles beside all pairs at once: time and memory of forward and backward, as the batch grows.

Run with `BLOCK=loss make bench`. Memory is the peak of a process that does nothing else, less what it had before.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from rounds import Contestant, end_if_void, ended, measure, spread, this_machine
from torch import Tensor

from cl_core.losses import Relation, RowIds
from cl_core.losses.info_nce import InfoNCE

DIM = 128
TEMPERATURE = 0.2
TIMED = (1024, 4096, 8192, 16_384)
GROWING = (8192, 16_384, 32_768, 65_536)
_SMALL = (1024,)
_LARGEST_MATRIX = 16_384


def tiles(rows: Tensor) -> Tensor:
    """Return the loss as the project computes it: rows are views 0 of all samples, then views 1."""
    samples = torch.arange(len(rows) // 2, device=rows.device).repeat(2)
    ids = RowIds(samples, torch.arange(2, device=rows.device).repeat_interleave(len(rows) // 2), samples)
    return InfoNCE(temperature=TEMPERATURE).compute(rows, rows, Relation(ids, ids), {}).mean


def at_once(rows: Tensor) -> Tensor:
    """Return NT-Xent as most libraries have it: one matrix of all pairs, and a cross-entropy."""
    unit = F.normalize(rows, dim=1)
    logits = unit @ unit.T / TEMPERATURE
    logits.fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(len(rows), device=rows.device).roll(len(rows) // 2))


LOSSES = {"tiles": tiles, "all at once": at_once}


def gradient(loss: Callable[[Tensor], Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss, and its gradient by the rows."""
    rows = rows.detach().requires_grad_()
    value = loss(rows)
    value.backward()
    assert rows.grad is not None
    return value.detach(), rows.grad


def embeddings(count: int) -> Tensor:
    """Return (count, DIM) float32, the same in every process."""
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(0))


def check() -> None:
    """Compare both losses before anything is timed: the work must be equal."""
    rows = embeddings(1000)
    (value, by_rows), (expected, by_same) = (gradient(loss, rows) for loss in LOSSES.values())
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(by_rows, by_same, rtol=1e-4, atol=1e-8)


def peak_mib(name: str, count: int) -> float:
    """Return what forward and backward take in a process of its own, in MiB beside the rows and the libraries."""
    command = [sys.executable, __file__, "--peak", name, "--rows", str(count)]
    return float(ended(command).stdout)


def _print_peak(name: str, count: int, threads: int) -> None:
    torch.set_num_threads(threads)
    gradient(LOSSES[name], embeddings(64))
    rows = embeddings(count)
    before = _status_mib("VmRSS")
    gradient(LOSSES[name], rows)
    print(_status_mib("VmHWM") - before)


def _status_mib(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def run_once(loss: Callable[[Tensor], Tensor], rows: Tensor) -> int:
    """Compute loss and gradient once, for `rounds.measure`."""
    gradient(loss, rows)
    return 1


def main() -> None:
    """Print the results; with --peak, only what one loss takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak", choices=LOSSES)
    parser.add_argument("--rows", type=int, nargs="+", default=TIMED)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--small", action="store_true", help="one short round, to see that everything runs")
    chosen = parser.parse_args()
    if chosen.peak:
        _print_peak(chosen.peak, chosen.rows[0], chosen.threads)
        return
    check()
    print(f"{this_machine()}\n\n| rows | all at once, ms | tiles, times as fast |\n|---|---|---|")
    races = []
    for count in _SMALL if chosen.small else chosen.rows:
        rows = embeddings(count)
        turns = {name: Contestant(partial(run_once, loss, rows), chosen.threads) for name, loss in LOSSES.items()}
        measured = measure(turns, rounds=1 if chosen.small else chosen.rounds, title=f"{count:,} rows")
        whole = [1000 / rate for rate in measured.rates["all at once"]]
        print(f"| {count:,} | {spread(whole)} | {spread(measured.against('tiles', 'all at once'), '{:.2f}')} |")
        races.append(measured)
    print("\nPeak memory beside the rows, MiB:\n\n| rows | all at once | tiles |\n|---|---|---|")
    for count in _SMALL if chosen.small else GROWING:
        whole = f"{peak_mib('all at once', count):,.0f}" if count <= _LARGEST_MATRIX else "not run"
        print(f"| {count:,} | {whole} | {peak_mib('tiles', count):,.0f} |")
    end_if_void(*races, small=chosen.small)


if __name__ == "__main__":
    main()
