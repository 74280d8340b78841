"""What turns pairs of two kinds, such as image and text, into views: a processor for each side."""

from collections.abc import Mapping
from typing import NoReturn

from torch import Tensor

from cl_core.columns import Batch
from cl_core.modalities._processor import Processor


class PairProcessor(Processor):
    """A processor for each side of pairs; `side` gives them.

    Args:
        sides: By name, in their order. The names begin those of the buffers.
    """

    is_symbolic = True

    def __init__(self, sides: Mapping[str, Processor]) -> None:
        super().__init__(sum((one.arrays for one in sides.values()), ()))
        for name, one in sides.items():
            self.add_module(name, one)

    def side(self, number: int) -> Processor:
        """Return the processor of a side."""
        one = list(self.children())[number]
        assert isinstance(one, Processor), "it holds nothing else"
        return one

    @property
    def view_shape(self) -> tuple[int, ...]:
        """Refuse: the sides differ."""
        self._refuse()

    def values(self, rows: Batch) -> Tensor:
        """Refuse: the sides differ."""
        self._refuse()

    def view(self, values: Tensor) -> Tensor:
        """Refuse: the sides differ."""
        self._refuse()

    def restored(self, views: Tensor) -> Batch:
        """Refuse: the sides differ."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise TypeError("pairs of two kinds have no view in common; ask `side` for the processor of one")
