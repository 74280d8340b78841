"""Which samples are one group, so that no split parts them: a column, a folder, or a part of the file's name."""

import re
from typing import NamedTuple

_FORMS = (
    "'column:NAME' for a column of a table, 'folder:1' for the first folder on the way to a file ('folder:-1' for the "
    "last), or 'pattern:REGEX' for the part of the file's name that the one pair of parentheses in it matches"
)


class GroupRule(NamedTuple):
    """How the group of an input is found; one of the three is given."""

    column: str = ""  # Of the source's table.
    level: int = 0  # Of the folders below the location: 1 is the first, -1 the last.
    pattern: re.Pattern[str] | None = None  # Searched in the file's name; it has one group.

    @classmethod
    def parse(cls, text: str) -> "GroupRule":
        """Read a rule such as `column:patient`, `folder:1` or `pattern:^(P[0-9]+)_`.

        Raises:
            ValueError: When the text is no such rule.
        """
        kind, _, value = text.partition(":")
        if kind == "column" and value:
            return cls(column=value)
        if kind == "folder" and re.fullmatch(r"-?[1-9][0-9]{0,3}", value):
            return cls(level=int(value))
        if kind == "pattern" and value:
            return cls(pattern=_compiled(value))
        raise ValueError(f"expected {_FORMS}; got {text!r}")

    def of_origin(self, origin: str) -> str | None:
        """Return the group that a path names; None where it names none, and for a rule by column."""
        *folders, name = origin.split("/")
        if self.level:
            index = self.level - 1 if self.level > 0 else self.level
            return folders[index] if -len(folders) <= index < len(folders) else None
        match = self.pattern.search(name) if self.pattern else None
        return (match[1] or None) if match else None


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"pattern {pattern!r} is no regular expression ({error}); correct it") from error
    if compiled.groups != 1:
        raise ValueError(
            f"pattern {pattern!r} has {compiled.groups} pairs of parentheses; put one around the part of the file's "
            "name that is the group, and write others as (?:...)"
        )
    return compiled
