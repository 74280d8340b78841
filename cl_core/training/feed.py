"""From positions in a split to a method's inputs: views on the device, ids and labels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cl_core.columns import SamplePool, Split
from cl_core.methods import Samples, StepInfo
from cl_core.modalities._processor import Processor, laid_out
from cl_core.rng import SampleRng
from cl_core.training.job import TrainingJob
from cl_core.views import Views, view_maker


@dataclass(frozen=True)
class Feed:
    """The training split of one worker."""

    split: Split  # All of it.
    job: TrainingJob
    policy: Views  # Makes the views.
    processor: Processor  # On the device.
    device: str  # Where they are made.

    def views(self, positions: NDArray[np.int64], *, epoch: int) -> tuple[Tensor, ...]:
        """Make the views of some samples; a pure function of seed, epoch and sample."""
        spec = self.job.training
        # The kernel computes on the CPU, whatever trains.
        pool = SamplePool(self.split.columns, "cpu" if spec.views_backend == "fused" else self.device)
        views = view_maker(self.policy, spec.views_backend)(
            pool.batch(positions),
            rng=SampleRng(spec.seed, epoch, self.split.sample_ids[positions]),
            processor=self.processor,
            pool=pool,
        )
        on_device = (view.to(self.device, non_blocking=True) for view in views)
        return tuple(laid_out(view, channels_last=spec.channels_last) for view in on_device)

    def samples(self, positions: NDArray[np.int64], *, moment: StepInfo) -> Samples:
        """Return ids, labels and identities of some samples."""
        labels, identities = self.split.labels, self.split.identities
        ids = torch.from_numpy(self.split.sample_ids[positions].astype(np.int64)).to(self.device)
        return Samples(
            ids=ids,
            labels=None if labels is None else torch.from_numpy(labels[positions]).to(self.device),
            moment=moment,
            identities=None if identities is None else torch.from_numpy(identities[positions].astype(np.int64)).to(ids),
        )
