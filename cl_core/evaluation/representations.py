"""The representations that are compared: the trained encoder, the baselines, and a registered champion."""

from collections.abc import Callable
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
from cl_core.training.components import assemble
from cl_core.training.job import PreparedData, TrainingJob
from cl_core.views.simclr import SimCLRViews

# Feature extraction runs in blocks of so many images; it bounds memory and does not change the features.
_BLOCK = 1_000


def trained(job: TrainingJob, checkpoint: Path) -> Representation:
    """The trained encoder."""
    encoder = trained_encoder(job, checkpoint)
    return _of_encoder(
        "trained", digest_of(["trained", job.digest, _code(assemble(job.training).encoder)]), encoder, job, job.digest
    )


def untrained(job: TrainingJob) -> Representation:
    """The same encoder with the weights it had before the first step."""
    spec = job.training
    encoder = [spec.encoder, spec.encoder_options, spec.precision, spec.seed]
    digest = digest_of(["untrained", _images(job), encoder, _code(assemble(spec).encoder)])
    return _of_encoder("untrained", digest, _fresh_encoder(job), job, "")


def raw_pixels(on: PreparedData) -> Representation:
    """The images themselves, as one long row each."""
    digest = digest_of(["raw_pixels", _images(on), _code()])

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)

    return Representation("raw_pixels", digest, embed, _viewed(on, lambda views: views.flatten(1)), "")


def registered(model: nn.Module, training_digest: str, on: PreparedData) -> Representation:
    """A registered model, as users call it: raw images in, unit embeddings out.

    Args:
        model: Maps (N, H, W, C) uint8 to (N, F) float32.
        training_digest: Of the training that made it.
        on: The snapshot that it is measured on.
    """

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            blocks = [model(torch.from_numpy(images[i : i + _BLOCK])) for i in range(0, len(images), _BLOCK)]
        return torch.cat(blocks).numpy()

    def embed_views(split: ImageSplit) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # The model's input is pixels, so the views go back to pixels.
        mean, std = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (on.mean, on.std))
        first, second = (
            ((view * std + mean) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
            for view in _make_views(split, on)
        )
        return embed(first), embed(second)

    digest = digest_of(["registered", training_digest, _images(on), _code()])
    return Representation("champion", digest, embed, embed_views, training_digest)


def trained_encoder(job: TrainingJob, checkpoint: Path) -> Encoder:
    """The encoder of a finished training.

    Raises:
        IntegrityError: When the checkpoint is damaged.
    """
    encoder = _fresh_encoder(job)
    encoder.load_state_dict(load_encoder_state(checkpoint))
    return encoder


def _of_encoder(name: str, digest: str, encoder: Encoder, job: TrainingJob, training: str) -> Representation:
    spec = job.training
    device = "cuda" if job.compute.gpus_per_worker else "cpu"
    encoder.to(device)

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return extract(
            encoder,
            images,
            normalization=job.normalization,
            batch_size=_BLOCK,
            device=device,
            precision=spec.precision,
            channels_last=spec.channels_last,
        )

    def forward(views: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = encoder.eval()(views.to(device)).float().cpu()
        return features

    return Representation(name, digest, embed, _viewed(job, forward), training)


def _viewed(on: PreparedData, forward: Callable[[torch.Tensor], torch.Tensor]) -> EmbedViews:
    """Two views of each sample through a function of normalised images."""

    def embed_views(split: ImageSplit) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            first, second = (forward(view).numpy() for view in _make_views(split, on))
        return first, second

    return embed_views


def _make_views(split: ImageSplit, on: PreparedData) -> tuple[torch.Tensor, torch.Tensor]:
    """The same views whatever a method was trained with: alignment compares methods only on equal views."""
    first, second = SimCLRViews()(
        torch.from_numpy(split.images),
        sample_ids=split.sample_ids,
        seed=0,
        epoch=0,
        size=on.data.image_size,
        normalization=on.normalization,
    )
    return first, second


def _fresh_encoder(job: TrainingJob) -> Encoder:
    torch.manual_seed(job.training.seed)
    return assemble(job.training).encoder.build(channels=job.snapshot.channels, size=job.data.image_size)


def _images(on: PreparedData) -> list[Any]:
    """What decides the images that a representation embeds."""
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
        "cl_core.modalities.image",
    )
    return code_digest(SimCLRViews.__module__, *embeds, alone=alone)
