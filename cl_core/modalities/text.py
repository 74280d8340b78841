"""Texts in UTF-8, such as titles, sentences and messages."""

from typing import TYPE_CHECKING, ClassVar

from cl_core.modalities import ColumnKind, Preview
from cl_core.modalities._text_modality import TextModality
from cl_core.modalities._text_payloads import BYTE_ORDER_MARK, shown_text, text_of_payload
from cl_core.registry import MODALITIES

if TYPE_CHECKING:
    from cl_core.columns import Rows


@MODALITIES.register("text")
class Texts(TextModality):
    """Texts of any language. A payload is a text in UTF-8. A model finds the words of a text itself."""

    columns: ClassVar[tuple[ColumnKind, ...]] = (
        ColumnKind("text", "uint8", "(N, L) of UTF-8 padded with 0", ragged=True, identifies=True),
    )
    unit: ClassVar[str] = "text"
    evaluation_views: ClassVar[str] = "word_noise"

    def preview(self, row: "Rows", *, side: int) -> Preview:
        """Return the beginning of the text, in its own direction of writing."""
        del side
        (text,) = row
        return shown_text(text[text > 0].tobytes())

    def preview_payload(self, payload: bytes, *, side: int) -> Preview:
        """Return the beginning of the text, in its own direction of writing."""
        del side
        text_of_payload(payload)
        return shown_text(payload)

    def payload_of(self, file: bytes) -> bytes:
        """Return the text in a file, without a byte order mark, and without white space around it."""
        return file.removeprefix(BYTE_ORDER_MARK).strip()
