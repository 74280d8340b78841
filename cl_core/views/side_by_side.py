"""Views of pairs of two kinds: each side is a view, made by a policy of its own."""

from functools import cached_property
from typing import Any, ClassVar

from pydantic import ValidationInfo, field_validator
from torch import Tensor

from cl_core.columns import Batch, SamplePool
from cl_core.registry import VIEWS, Nested
from cl_core.rng import SampleRng
from cl_core.views import Views, view_maker

_FIELD = "training.views_options"


@VIEWS.register("side_by_side")
class SideBySideViews(Views):
    """Two views: one of the image, and one of the text.

    Of what a policy makes of a side, the first view is taken.

    Source: Radford et al. 2021, "Learning transferable visual models from natural language supervision",
    arXiv:2103.00020, Sec. 2.3. Differences: any policies; CLIP crops images and leaves texts as they are.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image_text",)
    count: ClassVar[int] = 2

    image: Nested = Nested(name="simclr", options={"without": ["jitter", "grayscale", "blur"]})
    """View policy of the images: its name, and its options. Words name colors, so by default colors stay."""
    text: Nested = Nested(name="word_noise")
    """View policy of the texts: its name, and its options."""

    @field_validator("image", "text")
    @classmethod
    def _completed(cls, nested: Nested, field: ValidationInfo) -> Nested:
        return VIEWS.completed(nested, field=f"{_FIELD}.{field.field_name}")

    @cached_property
    def nested(self) -> tuple[Views, ...]:
        """The policies of both sides, for one view each."""
        sides = (VIEWS.build_nested(getattr(self, side), field=f"{_FIELD}.{side}") for side in ("image", "text"))
        return tuple(policy.single for policy in sides)

    def __call__(self, rows: Batch, *, rng: SampleRng, processor: Any, pool: SamplePool) -> tuple[Tensor, ...]:
        """Make the views of a batch; see `Views`."""
        return self._made(rows, rng, processor, pool, backend="torch")

    def why_not_fused(self) -> str:
        """Return why there is no kernel for the images; that of texts is in their processor."""
        return self.nested[0].why_not_fused()

    def fused(self, rows: Batch, *, rng: SampleRng, processor: Any, pool: SamplePool) -> tuple[Tensor, ...]:
        """Make the same views, those of images in one pass; see `Views`."""
        return self._made(rows, rng, processor, pool, backend="fused")

    def _made(
        self, rows: Batch, rng: SampleRng, processor: Any, pool: SamplePool, *, backend: str
    ) -> tuple[Tensor, ...]:
        made = []
        for side, policy in enumerate(self.nested):
            make = view_maker(policy, "torch" if policy.why_not_fused() else backend)
            views = make(
                rows[side : side + 1], rng=rng.of_side(side), processor=processor.side(side), pool=pool.of_side(side)
            )
            made.append(views[0])
        return tuple(made)
