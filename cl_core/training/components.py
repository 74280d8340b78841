"""From a training spec to its components, and to the digest that identifies its result."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, model_serializer, model_validator

from cl_core.encoders import EncoderOptions
from cl_core.errors import SpecError
from cl_core.hashing import digest_of
from cl_core.hashing.code_digest import code_digest
from cl_core.losses import PairLoss
from cl_core.methods import FromPaper, MethodOptions
from cl_core.modalities import Modality
from cl_core.registry import ENCODERS, LOSSES, METHODS, VIEWS
from cl_core.specs import PAPER, Options, TrainingSpec, ViewsBackend
from cl_core.specs.training import MOST_EPOCHS
from cl_core.training.precision import fast_precision
from cl_core.views import Views

# Modules that decide the weights beside the components and what these import. What only measures, checks, reports or
# stores is left out, so that changing it repeats no training. So is this module: what it makes of a spec is the
# completed spec, which is in the digest itself. A test compares the list with what the training loop imports.
DECIDES_WEIGHTS = (
    "cl_core.columns",
    "cl_core.data.cache",
    "cl_core.data.column_files",
    "cl_core.data.connected",
    "cl_core.data.sampling",
    "cl_core.data.snapshot",
    "cl_core.modalities",
    "cl_core.modalities._payloads",
    "cl_core.modalities._processor",
    "cl_core.modalities._values",
    "cl_core.parallel.collectives",
    "cl_core.parallel.sync_batch_norm",
    "cl_core.rng",
    "cl_core.specs.training",
    "cl_core.tables",
    "cl_core.training.device_pool",
    "cl_core.training.feed",
    "cl_core.training.gradients",
    "cl_core.training.loop",
    "cl_core.training.optimizer",
    "cl_core.training.order",
    "cl_core.training.schedule",
    "cl_core.training.views_ahead",
    "cl_core.training.warm_start",
)


class Parts(BaseModel):
    """The components that a training spec names, with their options.

    In JSON it is the completed spec alone, from which another process assembles the parts again.
    """

    model_config = ConfigDict(frozen=True)

    spec: TrainingSpec
    """Completed: every name and option is written out, so that a default given or left out is one spec."""
    method: MethodOptions
    loss: PairLoss | None
    """None when the method's objective is no pair loss, and its own."""
    views: Views
    encoder: EncoderOptions

    @model_serializer
    def _as_spec(self) -> dict[str, Any]:
        return self.spec.model_dump(mode="json")

    @model_validator(mode="wrap")
    @classmethod
    def _from_spec(cls, value: Any, assembled: ModelWrapValidatorHandler[Self]) -> "Parts":
        is_spec = isinstance(value, TrainingSpec) or (isinstance(value, dict) and "spec" not in value)
        if is_spec and isinstance(value, dict):  # Stored; what a person leaves open has been chosen before.
            value = {"views_backend": "torch", **value}
        return assemble(TrainingSpec.model_validate(value)) if is_spec else assembled(value)


def assemble(training: TrainingSpec, *, on_gpu: bool = False) -> Parts:
    """Build the components of a training; validate them one by one and together.

    Args:
        training: A spec as given, or a completed one, which stays as it is.
        on_gpu: Whether GPUs train, which decides what `auto` takes.

    Raises:
        SpecError: When a name or an option is unknown or out of range, or two parts do not fit.
    """
    method: MethodOptions = METHODS.build(training.method, training.method_options, field="training.method")
    views = _named_or_from_paper(training.views, training.views_options, method.paper_views)
    loss = _loss(training, method)
    policy: Views = VIEWS.build(*views, field="training.views")
    encoder: EncoderOptions = ENCODERS.build(training.encoder, training.encoder_options, field="training.encoder")
    paper_loss = method.paper_loss.name if method.paper_loss else PAPER
    completed = training.model_copy(
        update={
            "method_options": method.model_dump(mode="json"),
            "loss": paper_loss if training.loss == PAPER else training.loss,
            "loss_options": loss.model_dump(mode="json") if loss else {},
            "views": views[0],
            "views_options": policy.model_dump(mode="json"),
            "encoder_options": encoder.model_dump(mode="json"),
            "views_backend": _views_backend(policy, training.views_backend, on_gpu=on_gpu),
            "precision": fast_precision(on_gpu=on_gpu) if training.precision == "auto" else training.precision,
        }
    )
    parts = Parts(spec=completed, method=method, loss=loss, views=policy, encoder=encoder)
    if parts.views.count not in method.view_counts:
        raise SpecError(
            f"training.views: method {training.method!r} takes {_counted(method.view_counts)} of each sample, "
            f"but {views[0]!r} makes {parts.views.count}; choose another view policy, or other views_options"
        )
    # Epochs that are left open are checked when the data has decided them.
    method.check(parts.loss, epochs=training.epochs or MOST_EPOCHS)
    return parts


def _views_backend(policy: Views, asked: ViewsBackend, *, on_gpu: bool) -> ViewsBackend:
    """Return the backend that `auto` takes: the kernel computes on CPUs, and is not there for every policy."""
    if asked != "auto":
        return asked
    return "torch" if on_gpu or policy.why_not_fused() else "fused"


def _loss(training: TrainingSpec, method: MethodOptions) -> PairLoss | None:
    if method.paper_loss is None:
        if training.loss != PAPER or training.loss_options:
            setting = f"loss {training.loss!r}" if training.loss != PAPER else "loss_options"
            raise SpecError(
                f"training.loss: method {training.method!r} has its own objective and takes no other loss; "
                f"got {setting}: leave loss at {PAPER!r} without options, and see training.method_options"
            )
        return None
    name, options = _named_or_from_paper(training.loss, training.loss_options, method.paper_loss)
    if method.accepted_losses and name not in method.accepted_losses:
        raise SpecError(
            f"training.loss: method {training.method!r} does not accept loss {name!r}; "
            f"choose one of: {', '.join(sorted(method.accepted_losses))}"
        )
    loss: PairLoss = LOSSES.build(name, options, field="training.loss")
    return loss


def _named_or_from_paper(name: str, options: Options, paper: FromPaper) -> tuple[str, Options]:
    """Return a component's name and options; given options override those of the paper."""
    is_from_paper = name in (PAPER, paper.name)
    return (paper.name, {**paper.options, **options}) if is_from_paper else (name, options)


def _counted(counts: range) -> str:
    most = counts[-1]
    return f"{counts[0]} view{'s' if most > 1 else ''}" if len(counts) == 1 else f"{counts[0]} to {most} views"


def training_digest(parts: Parts, *, snapshot_digest: str, modality: Modality, start_sha256: str = "") -> str:
    """Return the digest of all that decides the weights: data, modality, completed spec, first weights, code.

    The number of workers is not in it: a training begun by two may be finished by one. `start_sha256` is that of the
    weights that the encoder starts from, and empty for fresh ones, which follow from the seed.
    """
    named = (modality, parts.method, parts.loss, parts.views, parts.encoder)
    components = [one for part in named if part is not None for one in (part, *part.nested)]
    return digest_of(
        {
            "snapshot": snapshot_digest,
            "modality": [modality.registered_name, modality],
            "training": parts.spec,
            "start": start_sha256,
            "code": code_digest(*(type(part).__module__ for part in components), alone=DECIDES_WEIGHTS),
        }
    )
