"""What an interruption costs a training: stopped after half of its steps and resumed, beside one that is not stopped.

`BLOCK=resume make bench`. Both run in one process, so that the start of an interpreter, which `cold_start` measures, is
left out. The weights must be the same, bit for bit, before times are compared.
"""

import argparse
import contextlib
import statistics
import tempfile
from itertools import count
from pathlib import Path

from epoch import Block, images_of, our_job
from rounds import Contestant, end_if_void, measure, spread, this_machine

from cl_core.hashing import file_sha256
from cl_core.training.job import TrainingJob
from cl_core.training.loop import train

_BLOCK, _TINY = Block("resnet_small", 28, 1, 256, 16), Block("resnet_small", 28, 1, 16, 4)


def weights_of(job: TrainingJob, *, stopped_after: int | None) -> str:
    """Train in a folder of its own, with or without an interruption; return the checksum of the weights."""
    with tempfile.TemporaryDirectory() as folder:
        job = job.model_copy(update={"folder": Path(folder)})
        if stopped_after is not None:
            steps = count(1)
            with contextlib.suppress(KeyboardInterrupt):
                train(job, stop_requested=lambda: next(steps) == stopped_after)
        done = train(job)
        assert done.resumed_from_step == (stopped_after or 0)
        return file_sha256(done.path / "method.safetensors")


def main() -> None:
    """Print seconds of both, their ratio, and the difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="one round of four steps, to see that everything runs")
    chosen = parser.parse_args()
    block = _TINY if chosen.small else _BLOCK
    found: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        job = our_job(block, images_of(block), Path(folder), threads=chosen.threads)

        def contestant(stopped_after: int | None) -> Contestant:
            def run() -> int:
                found.add(weights_of(job, stopped_after=stopped_after))
                return 1

            return Contestant(run, chosen.threads)

        turns = {"not stopped": contestant(None), "stopped and resumed": contestant(block.steps // 2)}
        measured = measure(turns, rounds=1 if chosen.small else chosen.rounds)
    assert len(found) == 1, "a resumed training must end with the weights of one that is not stopped"
    print(f"{this_machine()}\n\n{block.title}\n\n| | seconds | times as long | seconds more |\n|---|---|---|---|")
    whole = [1 / rate for rate in measured.rates["not stopped"]]
    for name, rates in measured.rates.items():
        more = [1 / rate - its for rate, its in zip(rates, whole, strict=True)]
        ratios = [1 / ratio for ratio in measured.against(name, "not stopped")]
        seconds = statistics.median(1 / rate for rate in rates)
        print(f"| {name} | {seconds:.2f} | {spread(ratios, '{:.3f}')} | {spread(more, '{:.2f}')} |")
    end_if_void(measured, small=chosen.small)


if __name__ == "__main__":
    main()
