"""Views of pairs: each side of a pair is one."""

from typing import ClassVar

from torch import Tensor

from cl_core.columns import Batch, SamplePool
from cl_core.modalities._processor import Processor
from cl_core.registry import VIEWS
from cl_core.rng import SampleRng
from cl_core.views import Views
from cl_core.views._noise_keys import with_noise_keys


@VIEWS.register("both_sides")
class BothSidesViews(Views):
    """Two views, the first and the second text of a pair; dropout comes on top.

    Under the method `simclr` this is the multiple negatives ranking loss in both directions: the second texts of other
    pairs are negatives, and the first ones, too.

    Source: Henderson et al. 2017, "Efficient natural language response suggestion for Smart Reply", arXiv:1705.00652,
    Sec. 4.4. Differences: the second text also has to find the first; cosines over a temperature are compared.
    """

    modalities: ClassVar[tuple[str, ...]] = ("text_pair",)
    count: ClassVar[int] = 2

    def __call__(self, rows: Batch, *, rng: SampleRng, processor: Processor, pool: SamplePool) -> tuple[Tensor, ...]:
        """Make the views of a batch; see `Views`."""
        return tuple(with_noise_keys(processor((side,)), rng, stream=view) for view, side in enumerate(rows))
