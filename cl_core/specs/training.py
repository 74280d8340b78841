"""How an encoder is trained: the spec that decides the weights."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from cl_core.registry import ENCODERS, LOSSES, METHODS, VIEWS, Described, NameIn, Options
from cl_core.specs.renamed import current_value

PAPER = "paper"
"""In place of a component's name: what the method's paper uses, with the paper's options."""

Precision = Literal["auto", "bf16", "fp32"]
"""A completed spec has one of the last two."""

ViewsBackend = Literal["auto", "fused", "torch"]
"""A completed spec has one of the last two; one that was stored before there was a choice means torch."""

MOST_EPOCHS = 100_000


def _may_stay_empty(schema: dict[str, Any]) -> None:
    """Make a field a number that may be left out: forms show it as an empty box, and Prefect accepts null for it."""
    schema.pop("default")
    schema |= next(choice for choice in schema.pop("anyOf") if choice != {"type": "null"})


class TrainingSpec(Described):
    """How the encoder is trained. These fields, and no others, decide the weights."""

    method: Annotated[str, NameIn(METHODS)] = "simclr"
    """Contrastive method that turns views into a loss."""
    method_options: Options = Field({})
    """Options of the method, as JSON."""
    loss: Annotated[str, NameIn(LOSSES, besides=(PAPER,))] = PAPER
    """Loss that compares the embeddings. `paper`: the loss and options of the method's paper."""
    loss_options: Options = Field({})
    """Options of the loss, as JSON."""
    views: Annotated[str, NameIn(VIEWS, besides=(PAPER,))] = PAPER
    """Policy that makes the contrasted views. `paper`: the views and options of the method's paper."""
    views_options: Options = Field({})
    """Options of the view policy, as JSON."""
    views_backend: ViewsBackend = "auto"
    """What computes the views: a compiled kernel in one pass (fused), or torch, operation by operation; they differ by
    rounding. auto takes fused where CPUs train, numba can be imported and the view policy has a kernel, and torch
    elsewhere."""
    encoder: Annotated[str, NameIn(ENCODERS)] = "resnet_small"
    """Network that is trained, evaluated and registered."""
    encoder_options: Options = Field({})
    """Options of the encoder, as JSON."""
    start_from: Literal["scratch", "champion"] = "scratch"
    """Initial weights of the encoder: fresh, or those of the model's champion when this training is first requested;
    without a champion, fresh."""
    start_towers: tuple[str, ...] = Field((), title="Initial weights of towers")
    """Registered models that towers of the encoder start from, such as text=sentences@champion or image=photos/3. Their
    encoders must be those of the towers. A tower that is left out starts fresh."""
    epochs: int | None = Field(None, ge=1, le=MOST_EPOCHS, json_schema_extra=_may_stay_empty)
    """Passes over the training split. null takes as many as come nearest to 1,000 steps, at least 1: 4 for 60,000
    samples in batches of 256."""
    batch_size: int = Field(256, ge=2, le=1_048_576)
    """Samples per step, over all workers together."""
    accumulate_steps: int = Field(1, ge=1, le=1024, title="Accumulated batches")
    """Batches whose gradients are averaged before each optimizer step. 1 is off. Adds no negatives: each batch is
    contrasted only with itself."""
    sub_batch_size: int = Field(0, ge=0, le=1_048_576, title="Sub-batch size")
    """Samples embedded at once, by all workers together: a batch larger than memory gets the gradient of the whole
    batch through sub-batches, at the cost of one more forward pass. Batch norm sees each sub-batch alone. Less than the
    batch size; 0 is off. Samples."""
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    """Rule that updates the weights."""
    learning_rate: float = Field(2e-3, gt=0, le=100)
    """Peak rate, as used; not rescaled by the batch size."""
    weight_decay: float = Field(1e-4, ge=0, le=1)
    """Applied to weight matrices; never to biases and norms. Per step."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD and LARS; AdamW's first beta. Dimensionless."""
    warmup_epochs: float = Field(0.5, ge=0, title="Warm-up")
    """Linear rise of the learning rate before the cosine decay. Epochs."""
    precision: Precision = "auto"
    """Arithmetic of the encoder's forward pass; losses are always float32. auto takes bf16 where the CPU or GPU
    multiplies faster in it, and fp32 elsewhere: a CPU that emulates bf16 is tens of times slower in it."""
    channels_last: bool = True
    """Memory layout of images; faster for convolutions."""
    held_out_share: float = Field(0.02, ge=0, le=0.5, title="Held-out fraction")
    """Share of the labeled training samples that is never trained on. During training their classes are predicted from
    nearest neighbors, and the accuracy shows whether features improve. The content hash decides which; 0 is off;
    ignored without labels. Fraction."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the initial weights, the order of samples and the views."""

    @property
    def sub_batches(self) -> int:
        """How many sub-batches a batch is embedded in; 1 embeds it whole."""
        return -(-self.batch_size // self.sub_batch_size) if self.sub_batch_size else 1

    @property
    def tower_models(self) -> dict[str, str]:
        """The models of `start_towers`, by side."""
        return {side: model for side, _, model in (one.partition("=") for one in self.start_towers)}

    @field_validator("start_towers")
    @classmethod
    def _name_sides(cls, towers: tuple[str, ...]) -> tuple[str, ...]:
        sides = [one.partition("=")[0] for one in towers]
        for side, one in zip(sides, towers, strict=True):
            if not one.partition("=")[2] or sides.count(side) > 1:
                raise ValueError(f"each tower once, and its model, such as text=sentences@champion; got {one!r}")
        return towers

    @field_validator("loss", "views", mode="before")
    @classmethod
    def _accept_old_values(cls, value: Any, info: ValidationInfo) -> Any:
        return current_value(f"training.{info.field_name}", value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _warm_up_fits(self) -> Self:
        if self.epochs is not None and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs:g} must be less than epochs {self.epochs}: "
                "the learning rate would never reach its peak"
            )
        return self

    @model_validator(mode="after")
    def _one_thing_is_started_from(self) -> Self:
        if self.start_towers and self.start_from == "champion":
            raise ValueError(
                "start_from 'champion' takes both towers from the champion, and start_towers names other models; leave "
                "one of them out"
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
