"""Markdown for the Prefect UI and MLflow, from templates that escape every value."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cl_core.data.snapshot import SnapshotProfile
from cl_core.data.validation import ValidationReport
from cl_core.report.wording import WORDING_FILTERS

_LISTED_CLASSES = 50
_LISTED_SIZES = 5


def render_markdown(template: str, *, package: str = "cl_core.report", **values: Any) -> str:
    """Fill in a template. It shows every value as it is: as text, not as markup."""
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,  # Marks what is escaped already; `finalize` escapes the rest, for Markdown instead of HTML.
        finalize=lambda value: value if isinstance(value, Markup) else escaped(str(value)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {**WORDING_FILTERS, "linked": linked, "code": code}
    environment.globals["table"] = table
    return environment.get_template(template).render(values)


def profile_markdown(profile: SnapshotProfile, validation: ValidationReport, *, note: str, changed: str) -> str:
    """Describe the data that a run trains on, what its ingestion did, and what changed since the previous snapshot."""
    splits = sorted(profile.rows, reverse=True)
    classes = [
        {"class": name, **{split: f"{profile.per_class[split].get(name, 0):,}" for split in splits}}
        for name in profile.classes[:_LISTED_CLASSES]
    ]
    return render_markdown(
        "data.md.j2",
        profile=profile,
        validation=validation,
        near=validation.near_duplicates,
        note=note,
        changed=changed,
        rows={split: profile.rows[split] for split in splits},
        unlabeled={split: profile.unlabelled[split] for split in splits},
        sizes=profile.sizes[:_LISTED_SIZES],
        more_sizes=profile.distinct_sizes - _LISTED_SIZES,
        classes=classes,
    )


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
