"""Specs: what a person asks for. Complete, frozen, and stored with the model that was made from them.

Each is a group in the Prefect form and a prefix on the command line (`--training.batch-size`). A component is chosen
by name and its options are the mapping beside it, validated by the component itself (`cl_core.assembly`).
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cl_core.registry import ENCODERS, EVALUATIONS, LOSSES, METHODS, SOURCES, VIEWS, NameIn

Options = dict[str, Any]

PUBLISHED = "published"
"""In place of a component's name: what the method's paper uses, with the paper's options."""


class Spec(BaseModel):
    """Base of all specs: frozen, and a field that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class DataSpec(Spec):
    """Which samples, and how they are split."""

    name: str = Field(
        "fashion-mnist",
        title="Dataset name",
        description="Name under which snapshots are kept. Letters, digits, dots, dashes and underscores.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
    )
    source: Annotated[str, NameIn(SOURCES)] = Field(
        "fashion_mnist", title="Source", description="Kind of place that the samples come from."
    )
    location: str = Field(
        "",
        title="Location",
        description="Folder or file to read. May be empty for sources that know their own place.",
    )
    source_options: Options = Field({}, title="Source options", description="Options of the source, as JSON.")
    image_size: int = Field(
        28, ge=8, le=512, title="Image size", description="Side of the square image that the encoder sees, in pixels."
    )
    test_share: float = Field(
        0.1,
        gt=0,
        lt=1,
        title="Test share",
        description="Share of the samples held out for testing where the source names no test split; "
        "the content's hash decides which. Fraction.",
    )
    min_train_samples: int = Field(
        64, ge=2, title="Least training samples", description="Fewer distinct training samples are refused. Samples."
    )
    max_quarantined_share: float = Field(
        0.05,
        ge=0,
        le=1,
        title="Largest quarantined share",
        description="A larger share of rejected inputs stops the run. Fraction of all inputs.",
    )

    @field_validator("location")
    @classmethod
    def _holds_no_password(cls, location: str) -> str:
        if re.search(r"://[^/@]*:[^@]*@", location):
            raise ValueError(
                "an address with a password in it is refused, because a spec is kept with the model that it makes; "
                "give the password as a setting of the environment"
            )
        return location


class SourceSpec(Spec):
    """Which images, however many, when nothing is trained on them."""

    source: Annotated[str, NameIn(SOURCES)] = Field(
        "image_folder",
        title="Source",
        description="Kind of place that the images come from; `snapshot` is what `cl ingest` made.",
    )
    location: str = Field(
        "",
        title="Location",
        description="Folder or file to read; of a snapshot its folder, datasets/NAME/DIGEST. "
        "May be empty for sources that know their own place.",
    )
    source_options: Options = Field({}, title="Source options", description="Options of the source, as JSON.")


class TrainingSpec(Spec):
    """How the encoder is trained. Everything here, and nothing else of the specs, decides the weights."""

    method: Annotated[str, NameIn(METHODS)] = Field(
        "simclr", title="Method", description="Contrastive method that turns views into a loss."
    )
    method_options: Options = Field({}, title="Method options", description="Options of the method, as JSON.")
    loss: Annotated[str, NameIn(LOSSES, besides=(PUBLISHED,))] = Field(
        PUBLISHED,
        title="Loss",
        description="Loss that compares the embeddings. `published`: that of the method's paper, as there.",
    )
    loss_options: Options = Field({}, title="Loss options", description="Options of the loss, as JSON.")
    views: Annotated[str, NameIn(VIEWS, besides=(PUBLISHED,))] = Field(
        PUBLISHED,
        title="Views",
        description="Policy that makes the contrasted views. `published`: that of the method's paper, as there.",
    )
    views_options: Options = Field({}, title="Views options", description="Options of the view policy, as JSON.")
    encoder: Annotated[str, NameIn(ENCODERS)] = Field(
        "resnet_small", title="Encoder", description="Network that is trained, evaluated and registered."
    )
    encoder_options: Options = Field({}, title="Encoder options", description="Options of the encoder, as JSON.")
    start_from: Literal["scratch", "champion"] = Field(
        "scratch",
        title="Start from",
        description="Weights of the encoder before the first step: fresh ones, or those of the model's champion when "
        "this training is first asked for; without a champion, fresh ones.",
    )
    epochs: int = Field(4, ge=1, le=100_000, title="Epochs", description="Passes over the training split.")
    batch_size: int = Field(
        256, ge=2, le=1_048_576, title="Batch size", description="Samples per step, over all workers together."
    )
    accumulate_steps: int = Field(
        1,
        ge=1,
        le=1024,
        title="Accumulated batches",
        description="Batches whose gradients are averaged before the optimiser moves. 1 is off. "
        "Adds no negatives: each batch is contrasted with itself only.",
    )
    sub_batch_size: int = Field(
        0,
        ge=0,
        le=1_048_576,
        title="Sub-batch size",
        description="Samples that are embedded at once, by all workers together: a batch larger than memory gets the "
        "gradient of the whole batch through sub-batches, at one more forward pass. Batch norm sees each by itself. "
        "Less than the batch size; 0 is off. Samples.",
    )
    optimizer: Literal["adamw", "sgd", "lars"] = Field(
        "adamw", title="Optimiser", description="Rule that moves the weights."
    )
    learning_rate: float = Field(
        2e-3, gt=0, le=100, title="Learning rate", description="Peak rate, as used; not rescaled by the batch size."
    )
    weight_decay: float = Field(
        1e-4, ge=0, le=1, title="Weight decay", description="On weight matrices; never on biases and norms. Per step."
    )
    momentum: float = Field(
        0.9, ge=0, lt=1, title="Momentum", description="Of SGD and LARS; AdamW's first beta. Dimensionless."
    )
    warmup_epochs: float = Field(
        0.5, ge=0, title="Warm-up", description="Linear rise of the learning rate before the cosine fall. Epochs."
    )
    precision: Literal["bf16", "fp32"] = Field(
        "bf16", title="Precision", description="Arithmetic of the encoder's forward pass; losses are always float32."
    )
    channels_last: bool = Field(
        True, title="Channels last", description="Memory layout of images; faster for convolutions."
    )
    held_out_share: float = Field(
        0.02,
        ge=0,
        le=0.5,
        title="Held-out share",
        description="Share of the labelled training samples that is never trained on; while training, their nearest "
        "neighbours guess their classes, and how often they are right says whether features improve. The content's "
        "hash decides which. 0 is off; without labels there is nothing to hold out. Fraction.",
    )
    seed: int = Field(0, ge=0, lt=2**32, title="Seed", description="Decides weights at start, order and views.")

    @property
    def sub_batches(self) -> int:
        """How many sub-batches a batch is embedded in; 1 is the whole at once."""
        return -(-self.batch_size // self.sub_batch_size) if self.sub_batch_size else 1

    @model_validator(mode="after")
    def _warm_up_fits(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs:g} must be less than epochs {self.epochs}: "
                "the learning rate would never reach its peak"
            )
        return self

    @model_validator(mode="after")
    def _sub_batches_are_parts(self) -> Self:
        if self.sub_batch_size >= self.batch_size:
            raise ValueError(
                f"sub_batch_size {self.sub_batch_size} must be less than batch_size {self.batch_size}, of which it is "
                "a part; 0 is off"
            )
        return self


class EvaluationSpec(Spec):
    """What is measured on the frozen encoder."""

    protocols: list[Annotated[str, NameIn(EVALUATIONS)]] = Field(
        ["linear_probe", "knn", "geometry"],
        min_length=1,
        title="Protocols",
        description="What to measure. Those that need labels are left out, and said to be, where there are none.",
    )
    options: dict[str, Options] = Field(
        {}, title="Protocol options", description="Options of each protocol, by its name, as JSON."
    )
    resamples: int = Field(
        1000,
        ge=100,
        le=100_000,
        title="Bootstrap resamples",
        description="Resamples of the test split behind each 95 % interval.",
    )
    seed: int = Field(0, ge=0, lt=2**32, title="Seed", description="Decides the resamples and the validation part.")


class PromotionSpec(Spec):
    """When a challenger becomes the champion that users fetch."""

    automatic: bool = Field(
        True,
        title="Promote automatically",
        description="Off: the gate's verdict is recorded, and a person promotes with `cl promote`.",
    )
    score: str = Field(
        "linear_probe.accuracy",
        title="Deciding score",
        description="Score compared with the champion's; `knn_20.accuracy` is another.",
    )
    tolerance: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Tolerance",
        description="The challenger wins when the 95 % interval of its gain over the champion lies above minus this. "
        "0 asks for a proven gain. Fraction of the test split.",
    )


class ComputeSpec(Spec):
    """Where it runs and how fast. Nothing here changes what is asked for."""

    workers: int = Field(
        1,
        ge=1,
        le=4096,
        title="Training workers",
        description="Processes that share each batch. 1 trains in the flow's own process.",
    )
    threads: int = Field(
        2,
        ge=1,
        le=65_536,
        title="CPU threads",
        description="CPU threads of all training workers together, shared evenly.",
    )
    gpus_per_worker: int = Field(
        0, ge=0, le=1, title="GPUs per worker", description="1 gives each worker a GPU of its own; 0 trains on CPUs."
    )
    ingest_workers: int = Field(
        1, ge=1, le=1024, title="Ingestion workers", description="Processes that check images while ingesting."
    )
    checkpoint_every_s: float = Field(
        60, gt=0, title="Checkpoint interval", description="At most this much training is lost to a kill. Seconds."
    )
    stall_timeout_s: float = Field(
        300,
        gt=0,
        title="Stall timeout",
        description="Workers that take no step for so long are ended and go on from the last checkpoint; longer than "
        "the longest step, and than the report interval. Of two or more workers. Seconds.",
    )
    report_every_s: float = Field(
        2, ge=0, title="Report interval", description="Least time between two reports of progress. Seconds."
    )
    knn_every_epochs: int = Field(
        1,
        ge=1,
        title="Neighbours interval",
        description="Epochs between two scores of nearest neighbours on what training.held_out_share holds out.",
    )

    @model_validator(mode="after")
    def _threads_are_shared_evenly(self) -> Self:
        if self.threads % self.workers:
            raise ValueError(
                f"threads {self.threads} cannot be shared evenly by {self.workers} workers; "
                f"nearest: {max(1, round(self.threads / self.workers)) * self.workers}"
            )
        return self
