"""Nearest-neighbor accuracy on held-out samples while training."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cl_core.columns import Split
from cl_core.encoders import Encoder
from cl_core.evaluation.features import extract
from cl_core.evaluation.nearest import nearest, vote
from cl_core.modalities._processor import Processor
from cl_core.parallel import collectives
from cl_core.training.job import TrainingJob

# Rows of the bank: at most so many, or one in so many of the split. Enough for a trend, at two hundredths of an epoch's
# work, because they are embedded once and without gradient.
_LEAST_BANK = 4096
_ROWS_PER_BANK_ROW = 10
_NEIGHBORS = 20
_TEMPERATURE = 0.1
_SAMPLES_AT_ONCE = 256


@dataclass(frozen=True)
class OnlineKnn:
    """Held-out samples as queries, and training samples as their neighbors."""

    held_out: Split  # Labeled samples that are never trained on.
    trained: Split  # The training split without them; its labeled samples with the least content hashes answer.
    job: TrainingJob
    processor: Processor  # On the device.
    device: str  # Where the encoder is.

    def accuracy(self, encoder: Encoder) -> float:
        """Return the accuracy of a nearest-neighbor vote on the held-out samples; a collective call.

        The encoder is used as it will be served: in evaluation mode, on samples without views. Its modes, its
        statistics and the random numbers are afterwards as they were before.
        """
        assert self.trained.labels is not None and self.held_out.labels is not None, "only labeled samples are held out"
        labeled = np.flatnonzero(self.trained.labels >= 0)
        bank = labeled[: max(_LEAST_BANK, len(labeled) // _ROWS_PER_BANK_ROW)]
        answers = collectives.all_gather(self._features(encoder, self.trained, _own(bank)).to(self.device)).cpu()
        asked = _own(np.arange(len(self.held_out.ids)))
        neighbors = nearest(self._features(encoder, self.held_out, asked), answers, k=min(_NEIGHBORS, len(bank)))
        guessed = vote(
            neighbors,
            torch.from_numpy(self.trained.labels[bank]),
            k=_NEIGHBORS,
            classes=len(self.job.snapshot.classes),
            temperature=_TEMPERATURE,
        )
        right = (guessed == torch.from_numpy(self.held_out.labels[asked])).sum()
        return collectives.all_reduce_sum(right.to(self.device)).item() / len(self.held_out.ids)

    def _features(self, encoder: Encoder, split: Split, rows: np.ndarray) -> Tensor:
        if not len(rows):
            return torch.empty(0, encoder.features)
        spec = self.job.training
        features = [
            extract(
                encoder,
                block,
                processor=self.processor,
                batch_size=_SAMPLES_AT_ONCE,
                device=self.device,
                precision=spec.precision,
                channels_last=spec.channels_last,
            )
            for block in split.column.select(rows).blocks(_SAMPLES_AT_ONCE)
        ]
        return torch.from_numpy(np.concatenate(features))


def _own(rows: np.ndarray) -> np.ndarray:
    """Return this worker's part, in order: gathered, the parts are all rows."""
    return np.array_split(rows, collectives.world_size())[collectives.rank()]
