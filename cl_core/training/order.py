"""Which samples each step takes: a pure function of seed and step, the same for any number of workers."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cl_core.columns import Split
from cl_core.data.sampling import class_balanced_batches, share_of, shuffled_batches
from cl_core.methods import MethodOptions
from cl_core.parallel import collectives
from cl_core.specs import TrainingSpec
from cl_core.training.gradients import embedding_order

I64 = NDArray[np.int64]


class StepOrder:
    """The samples of each step of a training.

    Args:
        spec: With seed, batch size, accumulated batches and sub-batches.
        method: It may need batches of so many samples per class.
        split: What is trained on.
    """

    def __init__(self, spec: TrainingSpec, method: MethodOptions, split: Split) -> None:
        self._spec, self._method, self._split = spec, method, split
        self._newest = 0, self._batches_of(0)
        self.steps_per_epoch = len(self._newest[1]) // spec.accumulate_steps

    def epoch_of(self, step: int) -> int:
        """Return the epoch of a step; both count from 0."""
        return step // self.steps_per_epoch

    def shares(self, step: int) -> list[list[I64]]:
        """Return positions in the split: this worker's part of each sub-batch of each accumulated batch of a step."""
        epoch, accumulated = self.epoch_of(step), self._spec.accumulate_steps
        (known, batches), first = self._newest, step % self.steps_per_epoch * accumulated
        if known != epoch:
            batches = self._batches_of(epoch)
            self._newest = epoch, batches
        parts = {"sub_batches": self._spec.sub_batches, "worker": collectives.rank()}
        return [
            # Sorted: the order decides which samples meet; their positions are the same for any number of workers.
            share_of(np.sort(batch), **parts, workers=collectives.world_size())
            for batch in batches[first : first + accumulated]
        ]

    def embedded(self, steps: range) -> Iterator[tuple[I64, int]]:
        """Yield the positions that are embedded in these steps, as often as they are, in order, and their epoch."""
        for step in steps:
            for shares in self.shares(step):
                for positions in embedding_order(shares):
                    yield positions, self.epoch_of(step)

    def _batches_of(self, epoch: int) -> I64:
        """Return (batches, N) positions of an epoch's samples."""
        spec, split, samples_per_class = self._spec, self._split, self._method.batch_samples_per_class
        if not samples_per_class:
            return shuffled_batches(seed=spec.seed, epoch=epoch, rows=len(split), batch_size=spec.batch_size)
        assert split.labels is not None, "a method that needs labels is refused data without them"
        return class_balanced_batches(
            seed=spec.seed,
            epoch=epoch,
            labels=split.labels,
            batch_size=spec.batch_size,
            samples_per_class=samples_per_class,
        )
