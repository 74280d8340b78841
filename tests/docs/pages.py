"""The pages that people read, in pieces: prose, and blocks of code."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
_FENCE = re.compile(
    r"^(?P<mark>(?: *<!--[^\n]*-->\n)*)(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


def pages() -> list[Path]:
    """Return the pages that are written by hand: the README, CONTRIBUTING and the documentation."""
    written = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent != REFERENCE]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *written]


def name(page: Path) -> str:
    """Return a page's path below the repository."""
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Args:
        page: That it is on.
        line: Of its first line.
        language: Of its fence.
        code: Its text, without the indentation of the fence.
        not_run: Why it is not run; empty when it is.
        file: That a reader writes it to; empty when it is run.
    """

    page: Path
    line: int
    language: str
    code: str
    not_run: str
    file: str

    def __str__(self) -> str:
        return f"{name(self.page)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks of code, in their order."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        reason = re.search(r"<!-- not run: (.*?) -->", match["mark"])
        file = re.search(r"<!-- file: (.*?) -->", match["mark"])
        code = re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start("code")) + 1
        found.append(Block(page, line, match["language"], code, reason[1] if reason else "", file[1] if file else ""))
    return found


def prose(page: Path) -> str:
    """Return a page's text without code, comments, addresses and tables' rules."""
    text = _FENCE.sub("", page.read_text())
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^\|[-| ]+\|$", "", text, flags=re.MULTILINE)
    return re.sub(r"\]\([^)]*\)", "]", text)


def sentences(page: Path) -> list[str]:
    """Return the sentences of a page; a heading, an item of a list and a cell of a table end one."""
    text = re.sub(r"^#+ .*$", ".", prose(page), flags=re.MULTILINE)
    text = re.sub(r"^ *(?:[-*]|\d+\.) ", ". ", text, flags=re.MULTILINE)
    text = re.sub(r"\n\s*\n|\|", ". ", text)
    return [" ".join(part.split()) for part in re.split(r"(?<=[.!?])[\s*_]+", text) if re.search(r"\w", part)]
