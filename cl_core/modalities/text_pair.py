"""Pairs of texts that belong together, such as question and answer."""

from typing import TYPE_CHECKING, ClassVar

from markupsafe import Markup

from cl_core.modalities import ColumnKind, Modality, Preview
from cl_core.modalities._text_modality import TextModality
from cl_core.modalities._text_payloads import shown_text
from cl_core.registry import MODALITIES

if TYPE_CHECKING:
    from cl_core.columns import Rows

_LAYOUT = "(N, L) of UTF-8 padded with 0"


@MODALITIES.register("text_pair")
class TextPairs(TextModality):
    """Pairs of texts: the second is what the first should be near to. A model takes one text, of either side.

    Pairs with the same second text are never in two splits, and never negatives of each other.
    """

    columns: ClassVar[tuple[ColumnKind, ...]] = (
        ColumnKind("first", "uint8", _LAYOUT, ragged=True),
        ColumnKind("second", "uint8", _LAYOUT, ragged=True, identifies=True),
    )
    sides: ClassVar[int] = 2
    unit: ClassVar[str] = "text pair"
    evaluation_views: ClassVar[str] = "both_sides"

    def served(self, side: int = 0) -> Modality:
        """Return texts with the same options."""
        del side
        texts: Modality = MODALITIES.build("text", self.model_dump(mode="json"), field="modality")
        return texts

    def preview(self, row: "Rows", *, side: int) -> Preview:
        """Return the beginning of both texts."""
        del side
        return _shown(*(text[text > 0].tobytes() for text in row))

    def preview_payload(self, payload: bytes, *, side: int) -> Preview:
        """Return the beginning of both texts."""
        del side
        return _shown(*self.texts_of(payload))


def _shown(first: bytes, second: bytes) -> Preview:
    one, other = shown_text(first), shown_text(second)
    return Preview(Markup("{}<br>{}").format(one.html, other.html), f"{one.text} | {other.text}")
