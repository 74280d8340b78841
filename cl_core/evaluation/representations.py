"""The representations that are compared: the trained encoder, the baselines, and a registered model.

An encoder is built and loaded only when something is to be embedded: an assessment that is up to date needs none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cl_core.columns import Batch, Rows, SamplePool, Split
from cl_core.encoders import Encoder, EncoderOptions
from cl_core.evaluation.features import extract
from cl_core.hashing import digest_of
from cl_core.hashing.code_digest import code_digest
from cl_core.modalities._processor import Processor
from cl_core.registry import VIEWS
from cl_core.rng import SampleRng
from cl_core.training.checkpoint import load_encoder_state
from cl_core.training.job import PreparedData, TrainingJob
from cl_core.views import Views

# Feature extraction runs in blocks of so many samples; it bounds memory and does not change the features.
BLOCK = 1_000


class Embed(Protocol):
    """Turns N rows of the cache, of one side of pairs, into (N, F) float32 features."""

    def __call__(self, rows: Rows, side: int = 0) -> NDArray[np.float32]:
        """Embed the rows."""


@dataclass(frozen=True)
class Representation:
    """A way to turn the samples of a snapshot into features."""

    name: str  # For messages: `trained`, `untrained`, the baseline's such as `raw_pixels`, `champion`.
    digest: str  # Of everything that decides the features, the snapshot and the model's input included.
    training: str  # Digest of the training that made the encoder; empty for a baseline.
    prepared: PreparedData  # The samples.
    embed: "Embed"
    embed_processed: Callable[[torch.Tensor], torch.Tensor]  # The same of views, as the processor gives them.
    embeds_second: bool = True  # Whether features of second sides can be compared with those of first ones.

    @property
    def made_from(self) -> dict[str, str]:
        """Return what a manifest records, because retention goes by what an artifact was made from."""
        return {"representation": self.name, "training": self.training, "snapshot": self.prepared.snapshot.digest}

    def embed_views(self, split: Split) -> list[NDArray[np.float32]]:
        """Return the features of two views of each sample, (N, F) float32 each.

        The views are the same whatever a method was trained with: alignment compares methods only on equal views. Where
        the sides of pairs are of two kinds, they are of the first sides.
        """
        has_towers = len(self.prepared.modality.programs) > 1
        with torch.inference_mode():
            pool = SamplePool(split.columns.side(0) if has_towers else split.columns)
            views = evaluation_views(self.prepared)(
                pool.batch(np.arange(len(split))),
                rng=SampleRng(0, 0, split.sample_ids),
                processor=self.prepared.processor.side(0),
                pool=pool,
            )
            return [self.embed_processed(view).numpy() for view in views]


def evaluation_views(on: PreparedData) -> Views:
    """Return the policy by which models of this modality are compared, with its defaults."""
    views: Views = VIEWS.build(on.modality.evaluation_views, {}, field="evaluation views")
    return views


def trained(job: TrainingJob, checkpoint: Path) -> Representation:
    """Represent samples by the trained encoder."""
    digest = digest_of(["trained", job.digest, _code(job, job.parts.encoder)])
    return _of_encoder("trained", digest, job.digest, job, partial(trained_encoder, job, checkpoint))


def untrained(job: TrainingJob) -> Representation:
    """Represent samples by the same encoder with random weights."""
    spec = job.training
    encoder = [spec.encoder, spec.encoder_options, spec.precision, spec.seed]
    # The processor may be that of the weights that the training starts from.
    start = [job.initial_weights.sha256] if job.initial_weights else []
    digest = digest_of(["untrained", _samples(job), encoder, *start, _code(job, job.parts.encoder)])
    return _of_encoder("untrained", digest, "", job, partial(_fresh_encoder, job))


def baseline(on: PreparedData) -> Representation:
    """Represent samples by what they are without any training, such as pixels."""
    name, modality = on.modality.baseline, on.modality
    processor = cache(lambda: on.processor)

    def embed(rows: Rows, side: int = 0) -> NDArray[np.float32]:
        return modality.served(side).baseline_features(rows, processor().side(side))

    def embed_processed(views: torch.Tensor) -> torch.Tensor:
        if not modality.served().is_symbolic:
            return views.flatten(1)
        # Ids mean nothing as numbers, so the views go back to rows.
        return torch.from_numpy(embed(tuple(column.numpy() for column in processor().side(0).restored(views))))

    digest = digest_of([name, _samples(on), _code(on)])
    # Pixels and words have nothing in common.
    alike = len(modality.programs) == 1
    return Representation(name, digest, "", on, embed, embed_processed, embeds_second=alike)


def registered(load: Callable[[int], nn.Module], training_digest: str, on: PreparedData) -> Representation:
    """Represent samples by a registered model, as users call it: stored rows in, unit embeddings out.

    `load` fetches the program for one side of pairs, which maps N rows of each column to (N, F) float32; it is called
    once for each, and only if needed.
    """
    program, processor, programs = cache(load), cache(lambda: on.processor), on.modality.programs

    def forward(rows: Batch, side: int) -> torch.Tensor:
        blocks = zip(*(torch.split(column, BLOCK) for column in rows), strict=True)
        return torch.cat([program(side if side in programs else 0)(*block) for block in blocks])

    def embed(rows: Rows, side: int = 0) -> NDArray[np.float32]:
        with torch.inference_mode():
            return forward(tuple(map(torch.from_numpy, rows)), side).numpy()

    def embed_processed(views: torch.Tensor) -> torch.Tensor:
        # The model's input is stored rows, such as pixels, so the views go back to rows.
        return forward(processor().side(0).restored(views), 0)

    digest = digest_of(["registered", training_digest, _samples(on), _code(on)])
    return Representation("champion", digest, training_digest, on, embed, embed_processed)


def trained_encoder(job: TrainingJob, checkpoint: Path) -> Encoder:
    """Build the encoder of a finished training.

    Raises:
        IntegrityError: When the checkpoint is damaged.
    """
    encoder = _fresh_encoder(job)
    encoder.load_state_dict(load_encoder_state(checkpoint))
    return encoder


def _of_encoder(
    name: str, digest: str, training: str, job: TrainingJob, build: Callable[[], Encoder]
) -> Representation:
    spec = job.training
    device = "cuda" if job.compute.gpus_per_worker else "cpu"

    @cache
    def encoder() -> Encoder:
        return build().to(device)

    @cache
    def processor() -> Processor:
        return job.processor.to(device)

    def embed(rows: Rows, side: int = 0) -> NDArray[np.float32]:
        return extract(
            encoder().tower(side),
            rows,
            processor=processor().side(side),
            batch_size=BLOCK,
            device=device,
            precision=spec.precision,
            channels_last=spec.channels_last,
        )

    def embed_processed(views: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = encoder().eval().tower(0)(views.to(device)).float().cpu()
        return features

    return Representation(name, digest, training, job, embed, embed_processed)


def _fresh_encoder(job: TrainingJob) -> Encoder:
    torch.manual_seed(job.training.seed)
    return job.parts.encoder.build_for(job.processor)


def _samples(on: PreparedData) -> list[Any]:
    """Return what decides the rows that a representation embeds."""
    return [on.snapshot.digest, on.modality.registered_name, on.modality, on.arrays]


def _code(on: PreparedData, encoder: EncoderOptions | None = None) -> str:
    """Return the digest of the code that decides the features: what embeds, and what makes the two views."""
    parts = (on.modality, evaluation_views(on), *([encoder, *encoder.nested] if encoder else []))
    alone = (
        __name__,
        "cl_core.columns",
        "cl_core.data.cache",
        "cl_core.data.column_files",
        "cl_core.data.snapshot",
        "cl_core.evaluation.features",
        "cl_core.modalities",
        "cl_core.modalities._processor",
    )
    return code_digest(*(type(part).__module__ for part in parts), alone=alone)
