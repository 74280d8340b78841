"""Markdown for the Prefect UI and MLflow, from templates that escape every value."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cl_core.report.reasons import REASON_FILTERS
from cl_core.report.wording import WORDING_FILTERS


def template_environment(package: str) -> Environment:
    """Return an environment of a package's templates that escapes every value, with filters that word values."""
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= WORDING_FILTERS | REASON_FILTERS
    return environment


def render_markdown(template: str, *, package: str = "cl_core.report", **values: Any) -> str:
    """Fill in a template. It shows every value as it is: as text, not as markup."""
    environment = template_environment(package)
    # Autoescape marks what is escaped already; this escapes the rest, for Markdown instead of HTML.
    environment.finalize = lambda value: value if isinstance(value, Markup) else escaped(str(value))
    environment.keep_trailing_newline = True
    environment.filters |= {"linked": linked, "code": code}
    environment.globals["table"] = table
    return environment.get_template(template).render(values)


def table(rows: Sequence[Mapping[str, str]]) -> Markup:
    """Return rows under the names of the first one's columns."""
    lines = [_line(rows[0]), "|---" * len(rows[0]) + "|", *(_line(row.values()) for row in rows)]
    return Markup("\n".join(lines))  # noqa: S704 - each cell is escaped.


def linked(place: str) -> Markup:
    """Return an address as a link, anything else as code."""
    return Markup(f"<{place}>") if re.fullmatch(r"https?://[^\s<>]+", place) else code(place)  # noqa: S704


def code(text: str) -> Markup:
    """Return a text as code of one line."""
    return Markup("`" + " ".join(text.replace("`", " ").split()) + "`")  # noqa: S704


def escaped(text: str) -> Markup:
    """Return a text that Markdown shows as it is: without markup, without HTML, on one line."""
    return Markup(re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", re.sub(r"\s+", " ", text)))  # noqa: S704


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(escaped, cells)) + " |"
