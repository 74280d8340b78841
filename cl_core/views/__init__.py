"""View policies: how a sample becomes the views that are contrasted. One file each."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor

from cl_core.columns import Batch, SamplePool
from cl_core.errors import SpecError
from cl_core.refs import IMAGE
from cl_core.registry import Component
from cl_core.rng import SampleRng


class Views(Component):
    """A policy that makes views of samples."""

    modalities: ClassVar[tuple[str, ...]]
    """Kinds of samples that it makes views of; empty: of any whose processor gives numbers that can be mixed."""

    needs_dropout: ClassVar[bool] = False
    """Whether nothing but the dropout of the encoder tells the views of a sample apart."""

    @property
    @abstractmethod
    def count(self) -> int:
        """V, views per sample."""

    @property
    def single(self) -> "Views":
        """The policy that makes just the first view, where there is one; else the same."""
        return self

    @abstractmethod
    def __call__(self, rows: Batch, *, rng: SampleRng, processor: Any, pool: SamplePool) -> tuple[Tensor, ...]:
        """Make the views of a batch.

        Args:
            rows: (B, *row) of each column, as they are cached, such as (B, H, W, C) uint8 of images.
            rng: Of these B samples; it decides every draw.
            processor: That of the modality (`cl_core.modalities._processor`): it turns rows into what encoders take.
            pool: The training split, for policies that mix samples.

        Returns:
            V tensors, view v (B, *view) float32 on the rows' device, as the processor gives them; of images a policy
            may make some smaller. Larger come first.
        """

    def why_not_fused(self) -> str:
        """Return why no kernel makes these views in one pass here; empty where `fused` does."""
        return f"view policy {self.registered_name!r} has no kernel"

    def kernel_device(self, device: str) -> str:
        """Return where `fused` makes views for a training on `device`: on the CPU, unless a kernel is for GPUs."""
        return "cpu"

    def fused(self, rows: Batch, *, rng: SampleRng, processor: Any, pool: SamplePool) -> tuple[Tensor, ...]:
        """Make the same views in one pass, where the rows are, on `kernel_device`; see `__call__`."""
        raise NotImplementedError(self.why_not_fused())


def view_maker(policy: Views, backend: str) -> Callable[..., tuple[Tensor, ...]]:
    """Return what makes the views of a policy by a backend, `fused` or `torch`.

    Raises:
        SpecError: When it cannot be used here.
    """
    if backend == "torch":
        return policy
    if reason := policy.why_not_fused():
        raise SpecError(
            f"training.views_backend: fused is wanted, but {reason}; choose auto, or torch, which makes the same views "
            "up to rounding"
        )
    return policy.fused


class ImageViews(Views):
    """A policy that makes views of images: (B, C, S, S), with the side S of the processor, or smaller."""

    modalities: ClassVar[tuple[str, ...]] = (IMAGE,)
