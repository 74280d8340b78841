"""From positions in a split to a method's inputs: views on the device, ids and labels."""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cl_core import processes
from cl_core.columns import Split, sent
from cl_core.methods import Samples, StepInfo
from cl_core.modalities._processor import Processor, laid_out
from cl_core.rng import SampleRng
from cl_core.training.device_pool import pool_on
from cl_core.training.job import TrainingJob
from cl_core.training.views_ahead import ViewsAhead
from cl_core.views import Views, view_maker


@dataclass
class Feed:
    """The training split of one worker."""

    split: Split  # All of it.
    job: TrainingJob
    policy: Views  # Makes the views.
    processor: Processor  # On the device.
    device: str  # Where they are made.

    def __post_init__(self) -> None:
        self._ahead: ViewsAhead | None = None
        is_fused = self.job.training.views_backend == "fused"
        self._pool = pool_on(self.policy.kernel_device(self.device) if is_fused else self.device, self.split.columns)

    def expect(self, requests: Iterable[tuple[NDArray[np.int64], int]]) -> None:
        """Take notice of all positions, with their epochs, whose views will be asked for, in this order.

        Views are then made while the encoder works on those before, if that never slows it: a GPU trains, or as many
        CPUs are free as the training has threads. They are the same, bit for bit.
        """
        if self.device != "cpu" or processes.cpu_count() >= 2 * self.job.compute.threads:
            # By a copy: what referred to itself would keep its memory after the training, until it is looked for.
            self._ahead = ViewsAhead(copy(self)._make, requests, self.device)

    def views(self, positions: NDArray[np.int64], *, epoch: int) -> tuple[Tensor, ...]:
        """Return the views of some samples; a pure function of seed, epoch and sample."""
        return self._ahead.take(positions, epoch) if self._ahead else self._make(positions, epoch)

    def _make(self, positions: NDArray[np.int64], epoch: int) -> tuple[Tensor, ...]:
        spec = self.job.training
        # Autocast would round views to bf16; and it is a thread's own.
        with torch.autocast(self.device, enabled=False):
            views = view_maker(self.policy, spec.views_backend)(
                self._pool.batch(positions),
                rng=SampleRng(spec.seed, epoch, self.split.sample_ids[positions]),
                processor=self.processor,
                pool=self._pool,
            )
        on_device = (view.to(self.device, non_blocking=True) for view in views)
        return tuple(laid_out(view, channels_last=spec.channels_last) for view in on_device)

    def samples(self, positions: NDArray[np.int64], *, moment: StepInfo) -> Samples:
        """Return ids, labels and identities of some samples."""

        def of(values: NDArray[Any] | None) -> Tensor | None:
            return None if values is None else sent(values[positions].astype(np.int64), self.device)

        ids = of(self.split.sample_ids)
        assert ids is not None
        return Samples(ids, of(self.split.labels), moment, of(self.split.identities))
