"""Payloads of texts: what is one, and how a person sees it."""

import unicodedata

from markupsafe import Markup

from cl_core.modalities import Preview, Rejected

MAX_BYTES = 1 << 20
"""Of a text."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_SHOWN = 240
_NOTHING = "(nothing that can be seen)"
# They decide how letters look; other invisible characters may move what is beside them.
_JOINERS = "\u200c\u200d"
_HTML = Markup('<span class="text" dir="auto">{}</span>')


def text_of_payload(payload: bytes) -> str:
    """Return the text of a payload.

    Raises:
        Rejected: When it is empty, too long, or not UTF-8, or has a NUL, with which texts are padded.
    """
    if len(payload) > MAX_BYTES:
        raise Rejected("too_large", f"it has {len(payload):,} bytes, and at most {MAX_BYTES:,} are read")
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise Rejected("damaged", f"it is not UTF-8: byte {error.start:,} cannot be read ({error.reason})") from error
    if "\0" in text:
        raise Rejected("damaged", f"character {text.index(chr(0)):,} is NUL, with which texts are padded")
    if not (_is_seen(text[:1]) or any(map(_is_seen, text))):
        raise Rejected("empty", "it has no character that can be seen")
    return text


def _is_seen(character: str) -> bool:
    return character.isprintable() and not character.isspace() and character != ""


def shown_text(text: bytes) -> Preview:
    """Return a text on one line, without what would change the direction or place of other text."""
    line = " ".join(text.decode(errors="replace").split())
    line = "".join(map(_visible, line[: _SHOWN + 1]))
    line = line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
    return Preview(_HTML.format(line), line or _NOTHING)


def _visible(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return "" if unicodedata.category(character) == "Cf" else "\N{REPLACEMENT CHARACTER}"
