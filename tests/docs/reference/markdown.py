"""Markdown that all reference pages are made of."""

import inspect
import re
from collections.abc import Iterable, Sequence

GENERATED = "<!-- Generated from the code by tests/docs; see CONTRIBUTING.md. -->"


def document(title: str, *parts: str) -> str:
    """Return a page: its title, and its parts with one empty line between them."""
    return "\n\n".join([f"# {title}", GENERATED, *(part.strip() for part in parts if part.strip())]) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; empty text without rows."""
    lines = ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    head = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    return "\n".join(head + lines) if lines else ""


def cell(text: str) -> str:
    """Return text as one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(value: object) -> str:
    """Return a value as code; empty text as a pair of quotes."""
    text = str(value)
    return f"`{text}`" if text else '`""`'


def docstring(thing: object) -> str:
    """Return a docstring without its indentation; empty text without one."""
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")


def first_line(thing: object) -> str:
    """Return the first line of a docstring."""
    return docstring(thing).partition("\n")[0]


def sections(text: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into its description and its sections (Args, Returns, Raises, Source)."""
    parts = re.split(r"^(Args|Returns|Raises|Source):", text, flags=re.MULTILINE)
    names, bodies = parts[1::2], parts[2::2]
    return parts[0].strip(), dict(zip(names, bodies, strict=True))
