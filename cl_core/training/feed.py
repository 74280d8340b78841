"""From positions in a split to a method's inputs: views on the device, ids and labels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cl_core.data.cache import ImageSplit
from cl_core.methods import Samples, StepInfo
from cl_core.training.job import TrainingJob
from cl_core.views import ImageViews, partner_positions


@dataclass(frozen=True)
class Feed:
    """The training split of one worker."""

    split: ImageSplit  # All of it.
    job: TrainingJob
    policy: ImageViews  # Makes the views.
    device: str  # Where they are made.

    def views(self, positions: NDArray[np.int64], *, epoch: int) -> tuple[Tensor, ...]:
        """Make the views of some samples; a pure function of seed, epoch and sample."""
        layout = torch.channels_last if self.job.training.channels_last else torch.contiguous_format
        made = self.policy(
            self._images(positions),
            sample_ids=self.split.sample_ids[positions],
            seed=self.job.training.seed,
            epoch=epoch,
            size=self.job.data.image_size,
            normalization=self.job.normalization,
            partners=self._partners(positions, epoch=epoch),
        )
        return tuple(view.contiguous(memory_format=layout) for view in made)

    def samples(self, positions: NDArray[np.int64], *, moment: StepInfo) -> Samples:
        """Return ids and labels of some samples."""
        labels = self.split.labels
        return Samples(
            ids=torch.from_numpy(self.split.sample_ids[positions].astype(np.int64)).to(self.device),
            labels=None if labels is None else torch.from_numpy(labels[positions]).to(self.device),
            moment=moment,
        )

    def _partners(self, positions: NDArray[np.int64], *, epoch: int) -> Tensor | None:
        """Return (V * P, B, H, W, C) uint8 samples to mix the views with; None if nothing is mixed."""
        count = self.policy.count * self.policy.partners
        if not count:
            return None
        partners = partner_positions(
            self.split.sample_ids[positions],
            seed=self.job.training.seed,
            epoch=epoch,
            count=count,
            size=len(self.split.images),
        )
        return self._images(partners)

    def _images(self, positions: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.split.images[positions]).to(self.device, non_blocking=True)
