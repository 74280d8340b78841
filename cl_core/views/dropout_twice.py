"""SimCSE's views of texts: each twice as it is, with other dropout."""

from typing import ClassVar

from torch import Tensor

from cl_core.columns import Batch, SamplePool
from cl_core.modalities._processor import Processor
from cl_core.registry import VIEWS
from cl_core.rng import SampleRng
from cl_core.views import Views
from cl_core.views._noise_keys import with_noise_keys


@VIEWS.register("dropout_twice")
class DropoutTwiceViews(Views):
    """Two views, each the text itself; the encoder's dropout is all that tells them apart.

    Source: Gao et al. 2021, "SimCSE: Simple contrastive learning of sentence embeddings", arXiv:2104.08821, Sec. 3.
    Differences: one mask for all words of a text; a mask is a function of seed, epoch and text.
    """

    modalities: ClassVar[tuple[str, ...]] = ("text",)
    count: ClassVar[int] = 2
    needs_dropout: ClassVar[bool] = True

    def __call__(self, rows: Batch, *, rng: SampleRng, processor: Processor, pool: SamplePool) -> tuple[Tensor, ...]:
        """Make the views of a batch; see `Views`."""
        views = processor(rows)
        return tuple(with_noise_keys(views.clone(), rng, stream=view) for view in range(self.count))
