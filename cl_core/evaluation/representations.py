"""The representations that are compared: the trained encoder, the baselines, and a registered model.

An encoder is built and loaded only when something is to be embedded: an assessment that is up to date needs none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cl_core.code_digest import code_digest
from cl_core.columns import SamplePool, Split
from cl_core.encoders import Encoder, EncoderOptions
from cl_core.evaluation.features import extract
from cl_core.hashing import digest_of
from cl_core.rng import SampleRng
from cl_core.training.checkpoint import load_encoder_state
from cl_core.training.job import PreparedData, TrainingJob
from cl_core.views.simclr import SimCLRViews

# Feature extraction runs in blocks of so many images; it bounds memory and does not change the features.
BLOCK = 1_000


@dataclass(frozen=True)
class Representation:
    """A way to turn the images of a snapshot into features."""

    name: str  # For messages: `trained`, `untrained`, `raw_pixels`, `champion`.
    digest: str  # Of everything that decides the features, the snapshot and image size included.
    training: str  # Digest of the training that made the encoder; empty for a baseline.
    prepared: PreparedData  # The images.
    embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # (N, H, W, C) uint8 images to (N, F) float32 features.
    embed_normalized: Callable[[torch.Tensor], torch.Tensor]  # The same of (N, C, H, W) normalized float32.

    @property
    def made_from(self) -> dict[str, str]:
        """Return what a manifest records, because retention goes by what an artifact was made from."""
        return {"representation": self.name, "training": self.training, "snapshot": self.prepared.snapshot.digest}

    def embed_views(self, split: Split) -> list[NDArray[np.float32]]:
        """Return the features of two views of each sample, (N, F) float32 each.

        The views are the same whatever a method was trained with: alignment compares methods only on equal views.
        """
        with torch.inference_mode():
            pool = SamplePool(split.column)
            views = SimCLRViews()(
                pool.batch(np.arange(len(split))),
                rng=SampleRng(0, 0, split.sample_ids),
                processor=self.prepared.processor,
                pool=pool,
            )
            return [self.embed_normalized(view).numpy() for view in views]


def trained(job: TrainingJob, checkpoint: Path) -> Representation:
    """Represent images by the trained encoder."""
    digest = digest_of(["trained", job.digest, _code(job.parts.encoder)])
    return _of_encoder("trained", digest, job.digest, job, partial(trained_encoder, job, checkpoint))


def untrained(job: TrainingJob) -> Representation:
    """Represent images by the same encoder with random weights."""
    spec = job.training
    encoder = [spec.encoder, spec.encoder_options, spec.precision, spec.seed]
    digest = digest_of(["untrained", _images(job), encoder, _code(job.parts.encoder)])
    return _of_encoder("untrained", digest, "", job, partial(_fresh_encoder, job))


def raw_pixels(on: PreparedData) -> Representation:
    """Represent images by their pixels, as one long row each."""
    digest = digest_of(["raw_pixels", _images(on), _code()])
    embed = on.data.built_modality.baseline_features
    return Representation("raw_pixels", digest, "", on, embed, lambda views: views.flatten(1))


def registered(load: Callable[[], nn.Module], training_digest: str, on: PreparedData) -> Representation:
    """Represent images by a registered model, as users call it: raw images in, unit embeddings out.

    `load` fetches the model, which maps (N, H, W, C) uint8 to (N, F) float32; it is called once, and only if needed.
    """
    model = cache(load)
    processor = on.processor

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([model()(block) for block in torch.split(pixels, BLOCK)])

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return forward(torch.from_numpy(images)).numpy()

    def embed_normalized(views: torch.Tensor) -> torch.Tensor:
        # The model's input is pixels, so the views go back to pixels.
        return forward(processor.restored(views))

    digest = digest_of(["registered", training_digest, _images(on), _code()])
    return Representation("champion", digest, training_digest, on, embed, embed_normalized)


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
    def processor() -> nn.Module:
        return job.processor.to(device)

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return extract(
            encoder(),
            images,
            processor=processor(),
            batch_size=BLOCK,
            device=device,
            precision=spec.precision,
            channels_last=spec.channels_last,
        )

    def embed_normalized(views: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = encoder().eval()(views.to(device)).float().cpu()
        return features

    return Representation(name, digest, training, job, embed, embed_normalized)


def _fresh_encoder(job: TrainingJob) -> Encoder:
    torch.manual_seed(job.training.seed)
    return job.parts.encoder.build(job.view_shape)


def _images(on: PreparedData) -> list[Any]:
    """Return what decides the images that a representation embeds."""
    return [on.snapshot.digest, on.data.image_size]


def _code(encoder: EncoderOptions | None = None) -> str:
    """Return the digest of the code that decides the features: what embeds, and what makes the two views."""
    embeds = [type(encoder).__module__] if encoder else []
    alone = (
        __name__,
        "cl_core.columns",
        "cl_core.data.cache",
        "cl_core.data.snapshot",
        "cl_core.evaluation.features",
        "cl_core.modalities._image_decoding",
        "cl_core.modalities._image_processor",
        "cl_core.modalities.image",
    )
    return code_digest(SimCLRViews.__module__, *embeds, alone=alone)
