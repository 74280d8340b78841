"""Nearest-neighbor accuracy on held-out samples while training."""

from collections.abc import Iterator
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

# Rows of the bank: a tenth of the split, within these bounds. Enough for a trend, at two hundredths of an epoch's work,
# because they are embedded once and without gradient; and few enough to be held in memory, however large the split is.
_LEAST_BANK = 4096
_ROWS_PER_BANK_ROW = 10
_LARGEST_BANK = 20_000
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
        bank = labeled[: min(max(_LEAST_BANK, len(labeled) // _ROWS_PER_BANK_ROW), _LARGEST_BANK)]
        own = [torch.empty(0, encoder.features), *self._features(encoder, self.trained, _own(bank))]
        answers = collectives.all_gather(torch.cat(own).to(self.device)).cpu()
        classes = torch.from_numpy(self.trained.labels[bank])
        asked, right = _own(np.arange(len(self.held_out.ids))), torch.tensor(0)
        for rows, queries in zip(_in_blocks(asked), self._features(encoder, self.held_out, asked), strict=True):
            guessed = vote(
                nearest(queries, answers, k=min(_NEIGHBORS, len(bank))),
                classes,
                k=_NEIGHBORS,
                classes=len(self.job.snapshot.classes),
                temperature=_TEMPERATURE,
            )
            right += (guessed == torch.from_numpy(self.held_out.labels[rows])).sum()
        return collectives.all_reduce_sum(right.to(self.device)).item() / len(self.held_out.ids)

    def _features(self, encoder: Encoder, split: Split, rows: np.ndarray) -> Iterator[Tensor]:
        """Yield the features of some samples, a block at a time."""
        spec = self.job.training
        for block in _in_blocks(rows):
            features = extract(
                encoder.tower(0),
                self.job.modality.side(split.columns.take(block)),
                processor=self.processor.side(0),
                batch_size=_SAMPLES_AT_ONCE,
                device=self.device,
                precision=spec.precision,
                channels_last=spec.channels_last,
            )
            yield torch.from_numpy(features)


def _in_blocks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + _SAMPLES_AT_ONCE] for start in range(0, len(rows), _SAMPLES_AT_ONCE)]


def _own(rows: np.ndarray) -> np.ndarray:
    """Return this worker's part, in order: gathered, the parts are all rows."""
    return np.array_split(rows, collectives.world_size())[collectives.rank()]
