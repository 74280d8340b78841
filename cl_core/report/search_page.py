"""The page of a search: the image that was asked for, and what was found, in one HTML file that needs nothing else."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from cl_core.embedding.embeddings_file import EmbeddingFacts
from cl_core.embedding.search import Hit
from cl_core.modalities.image import Rejected, decode
from cl_core.report.gallery import png_uri
from cl_core.report.page import environment

SIDE = 160  # pixels; a page of 24 photographs stays under 2 MB
_SMOOTH_FROM = 64  # pixels; smaller pictures are shown with their pixels


def search_page(
    image: Path, embeddings: Path, facts: EmbeddingFacts, hits: Sequence[Hit], pictures: Mapping[str, bytes]
) -> str:
    """The page as HTML.

    Args:
        image: What was asked for.
        embeddings: The file that was searched.
        facts: Of that file.
        hits: What was found, nearest first.
        pictures: Encoded images by id; those that are missing are shown by name only.
    """
    payload = image.read_bytes()
    return (
        environment()
        .get_template("search.html")
        .render(
            name=image.name,
            asked=_thumbnail(payload),
            asked_id=hashlib.sha256(payload).hexdigest(),
            smooth=max(decode(payload).shape[:2]) >= _SMOOTH_FROM,
            embeddings=embeddings,
            facts=facts,
            hits=hits,
            thumbnails={sample: _thumbnail(picture) for sample, picture in pictures.items()},
            sentence=missing_sentence(hits, pictures, facts),
        )
    )


def missing_sentence(hits: Sequence[Hit], pictures: Mapping[str, bytes], facts: EmbeddingFacts) -> str:
    """How many pictures are missing, and why; empty when none is."""
    missing = sum(hit.row.id not in pictures for hit in hits)
    if not missing:
        return ""
    place = facts.data.location or f"source {facts.data.source}"
    return f"{missing} of {len(hits)} pictures are missing: {place} no longer holds these images as they were embedded."


def _thumbnail(payload: bytes) -> str:
    """A data URI of the whole image, shrunk; empty when it cannot be decoded any more."""
    try:
        return png_uri(decode(payload), SIDE)
    except Rejected:
        return ""
