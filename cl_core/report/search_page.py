"""Render the page of a search: the query and its nearest samples in one self-contained HTML file."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from cl_core.embedding.embeddings_file import EmbeddingsMetadata
from cl_core.embedding.search import Hit, Query
from cl_core.modalities import Modality, Rejected
from cl_core.report.page import html_environment

SIDE = 160  # pixels; a page of 24 photographs stays under 2 MB


def search_page(
    query: Query, embeddings: Path, metadata: EmbeddingsMetadata, hits: Sequence[Hit], payloads: Mapping[str, bytes]
) -> str:
    """Return the page as HTML; a hit whose payload is not in `payloads`, by id, is shown by name only."""
    modality = metadata.takes.kind
    template = html_environment().get_template("search.html")
    return template.render(
        name=query.name,
        unit=modality.unit,
        query=shown_payload(query.payload, query.kind),
        query_id=hashlib.sha256(query.payload).hexdigest(),
        embeddings=embeddings,
        metadata=metadata,
        hits=hits,
        previews={sample: shown_payload(one, modality) for sample, one in payloads.items()},
        sentence=missing_sentence(hits, payloads, metadata),
    )


def missing_sentence(hits: Sequence[Hit], payloads: Mapping[str, bytes], metadata: EmbeddingsMetadata) -> str:
    """Return how many samples are not shown, and why; empty when all are."""
    missing = sum(hit.row.id not in payloads for hit in hits)
    if not missing:
        return ""
    place = metadata.data.location or f"source {metadata.data.source}"
    unit = metadata.takes.kind.unit
    return f"{missing} of {len(hits)} {unit}s are not shown: {place} no longer holds the {unit}s that were embedded."


def shown_payload(payload: bytes, modality: Modality) -> Markup | str:
    """Return the whole sample as HTML; empty when it can no longer be decoded."""
    try:
        return modality.preview_payload(payload, side=SIDE).html
    except Rejected:
        return ""
