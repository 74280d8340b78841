"""Render the page of a classification: the images of each class, the surest first, in one self-contained HTML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from cl_core.embedding.classify import Classified
from cl_core.modalities import Modality
from cl_core.report.page import html_environment
from cl_core.report.search_page import SIDE, shown_payload

SHOWN = 24
"""Images of a class on the page, at most."""


class _Shown(NamedTuple):
    html: Markup | str  # Empty where the image could not be found again.
    origin: str
    probability: float
    second: str  # The class that comes next.


def shown_rows(classified: Classified) -> dict[str, list[int]]:
    """Return by class the rows that the page shows: those predicted, the most probable first."""
    predicted, best = classified.predicted, classified.probabilities.max(axis=1)
    order = np.lexsort((np.arange(len(best)), -best))
    of_classes = {name: order[predicted[order] == number] for number, name in enumerate(classified.classes)}
    return {name: rows[:SHOWN].tolist() for name, rows in of_classes.items()}


def classes_page(
    classified: Classified, modality: Modality, payloads: Mapping[str, bytes], *, model: str, folder: str, table: Path
) -> str:
    """Return the page as HTML; an image whose payload is not in `payloads`, by id, is shown by name only."""
    counts = np.bincount(classified.predicted, minlength=len(classified.classes))
    sections = [
        (name, int(count), [_shown(classified, row, modality, payloads) for row in rows])
        for (name, rows), count in zip(shown_rows(classified).items(), counts, strict=True)
    ]
    return (
        html_environment()
        .get_template("classes.html")
        .render(
            sections=sorted(sections, key=lambda section: -section[1]),
            images=len(classified.rows),
            unit=modality.unit,
            rejected=classified.rejected,
            model=model,
            folder=folder,
            table=table,
            side=SIDE,
        )
    )


def _shown(classified: Classified, row: int, modality: Modality, payloads: Mapping[str, bytes]) -> _Shown:
    about, probabilities = classified.rows[row], classified.probabilities[row]
    second = classified.classes[int(np.argsort(-probabilities, kind="stable")[1])]
    payload = payloads.get(about.id)
    html = shown_payload(payload, modality) if payload is not None else ""
    return _Shown(html, about.origin, float(probabilities.max()), second)
