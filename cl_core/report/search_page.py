"""Render the page of a search: the query and its nearest images in one self-contained HTML file."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from cl_core.embedding.embeddings_file import EmbeddingsMetadata
from cl_core.embedding.search import Hit
from cl_core.modalities import Rejected
from cl_core.modalities._image_decoding import decode
from cl_core.report.gallery import png_uri
from cl_core.report.page import html_environment
from cl_core.specs import ValueRange

SIDE = 160  # pixels; a page of 24 photographs stays under 2 MB
_SMOOTH_FROM = 64  # pixels; smaller pictures are shown with their pixels


def search_page(
    image: Path, embeddings: Path, metadata: EmbeddingsMetadata, hits: Sequence[Hit], pictures: Mapping[str, bytes]
) -> str:
    """Return the page as HTML; a hit whose encoded image is not in `pictures`, by id, is shown by name only."""
    payload = image.read_bytes()
    template = html_environment().get_template("search.html")
    return template.render(
        name=image.name,
        query=_thumbnail(payload, metadata.value_range),
        query_id=hashlib.sha256(payload).hexdigest(),
        smooth=max(decode(payload, metadata.value_range).shape[:2]) >= _SMOOTH_FROM,
        embeddings=embeddings,
        metadata=metadata,
        hits=hits,
        thumbnails={sample: _thumbnail(picture, metadata.value_range) for sample, picture in pictures.items()},
        sentence=missing_sentence(hits, pictures, metadata),
    )


def missing_sentence(hits: Sequence[Hit], pictures: Mapping[str, bytes], metadata: EmbeddingsMetadata) -> str:
    """Say how many pictures are missing, and why; empty when none is."""
    missing = sum(hit.row.id not in pictures for hit in hits)
    if not missing:
        return ""
    place = metadata.data.location or f"source {metadata.data.source}"
    return f"{missing} of {len(hits)} pictures are missing: {place} no longer holds the images that were embedded."


def _thumbnail(payload: bytes, value_range: ValueRange | None) -> str:
    """Return a data URI of the whole image, shrunk; empty when it can no longer be decoded."""
    try:
        return png_uri(decode(payload, value_range), SIDE)
    except Rejected:
        return ""
