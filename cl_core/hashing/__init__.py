"""Digests: a thing is named after what goes into it, never after a time or a host."""

import hashlib
import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> str:
    """Return the canonical JSON text of a value: keys sorted, no spaces, no NaN; pydantic models as their JSON form.

    Raises:
        ValueError: When the value holds NaN or infinity.
        TypeError: When a part of the value has no JSON form.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_as_json)


def _as_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form; give it to a digest as text or numbers")


def digest_of(value: Any) -> str:
    """Return the sha256 of the value's canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_sha256(path: Path, size: int | None = None) -> str:
    """Return the sha256 of a file's bytes, or of its first `size`, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES if size is None else min(CHUNK_BYTES, size - file.tell())):
            digest.update(chunk)
    return digest.hexdigest()


@cache
def source_digest(*packages: str) -> str:
    """Return the digest of all source files of packages or modules; it changes when any line does.

    Source names are relative to each package, so that two installations of the same code agree.
    """
    sources: list[tuple[str, str]] = []
    for package in packages:
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None, package
        root = Path(spec.origin)
        files = sorted(root.parent.rglob("*.py")) if root.name == "__init__.py" else [root]
        sources += [(f"{package}/{file.relative_to(root.parent).as_posix()}", file_sha256(file)) for file in files]
    return digest_of(sources)
