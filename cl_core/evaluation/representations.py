"""The representations that are compared: the trained encoder, the baselines, and a registered model.

An encoder is built and loaded only when something is to be embedded: an assessment that is up to date needs none.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cl_core.code_digest import code_digest
from cl_core.data.cache import ImageSplit
from cl_core.encoders import Encoder, EncoderOptions
from cl_core.evaluation.features import extract
from cl_core.evaluation.runner import EmbedViews, Representation
from cl_core.hashing import digest_of
from cl_core.training.checkpoint import load_encoder_state
from cl_core.training.job import PreparedData, TrainingJob
from cl_core.views.simclr import SimCLRViews

# Feature extraction runs in blocks of so many images; it bounds memory and does not change the features.
_BLOCK = 1_000


def trained(job: TrainingJob, checkpoint: Path) -> Representation:
    """Represent images by the trained encoder."""
    digest = digest_of(["trained", job.digest, _code(job.parts.encoder)])
    return _of_encoder("trained", digest, partial(trained_encoder, job, checkpoint), job, job.digest)


def untrained(job: TrainingJob) -> Representation:
    """Represent images by the same encoder with random weights."""
    spec = job.training
    encoder = [spec.encoder, spec.encoder_options, spec.precision, spec.seed]
    digest = digest_of(["untrained", _images(job), encoder, _code(job.parts.encoder)])
    return _of_encoder("untrained", digest, partial(_fresh_encoder, job), job, "")


def raw_pixels(on: PreparedData) -> Representation:
    """Represent images by their pixels, as one long row each."""
    digest = digest_of(["raw_pixels", _images(on), _code()])

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)

    return Representation("raw_pixels", digest, embed, _viewed(on, lambda views: views.flatten(1)), "")


def registered(load: Callable[[], nn.Module], training_digest: str, on: PreparedData) -> Representation:
    """Represent images by a registered model, as users call it: raw images in, unit embeddings out.

    `load` fetches the model, which maps (N, H, W, C) uint8 to (N, F) float32; it is called once, and only if needed.
    """
    model = cache(load)
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (on.mean, on.std))

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([model()(block) for block in torch.split(pixels, _BLOCK)])

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return forward(torch.from_numpy(images)).numpy()

    def forward_views(views: torch.Tensor) -> torch.Tensor:
        # The model's input is pixels, so the views go back to pixels.
        return forward(((views * std + mean) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1))

    digest = digest_of(["registered", training_digest, _images(on), _code()])
    return Representation("champion", digest, embed, _viewed(on, forward_views), training_digest)


def trained_encoder(job: TrainingJob, checkpoint: Path) -> Encoder:
    """Build the encoder of a finished training.

    Raises:
        IntegrityError: When the checkpoint is damaged.
    """
    encoder = _fresh_encoder(job)
    encoder.load_state_dict(load_encoder_state(checkpoint))
    return encoder


def _of_encoder(
    name: str, digest: str, build: Callable[[], Encoder], job: TrainingJob, training: str
) -> Representation:
    spec = job.training
    device = "cuda" if job.compute.gpus_per_worker else "cpu"

    @cache
    def encoder() -> Encoder:
        return build().to(device)

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return extract(
            encoder(),
            images,
            normalization=job.normalization,
            batch_size=_BLOCK,
            device=device,
            precision=spec.precision,
            channels_last=spec.channels_last,
        )

    def forward(views: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = encoder().eval()(views.to(device)).float().cpu()
        return features

    return Representation(name, digest, embed, _viewed(job, forward), training)


def _viewed(on: PreparedData, forward: Callable[[torch.Tensor], torch.Tensor]) -> EmbedViews:
    """Return a function that embeds two views of each sample by a function of normalized images.

    The views are the same whatever a method was trained with: alignment compares methods only on equal views.
    """

    def embed_views(split: ImageSplit) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            views = SimCLRViews()(
                torch.from_numpy(split.images),
                sample_ids=split.sample_ids,
                seed=0,
                epoch=0,
                size=on.data.image_size,
                normalization=on.normalization,
            )
            first, second = (forward(view).numpy() for view in views)
        return first, second

    return embed_views


def _fresh_encoder(job: TrainingJob) -> Encoder:
    torch.manual_seed(job.training.seed)
    return job.parts.encoder.build(channels=job.snapshot.channels, size=job.data.image_size)


def _images(on: PreparedData) -> list[Any]:
    """Return what decides the images that a representation embeds."""
    return [on.snapshot.digest, on.data.image_size]


def _code(encoder: EncoderOptions | None = None) -> str:
    """Return the digest of the code that decides the features: what embeds, and what makes the two views."""
    embeds = [type(encoder).__module__] if encoder else []
    alone = (
        __name__,
        "cl_core.data.cache",
        "cl_core.data.snapshot",
        "cl_core.evaluation.features",
        "cl_core.modalities.image",
    )
    return code_digest(SimCLRViews.__module__, *embeds, alone=alone)
