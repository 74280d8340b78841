"""WebDataset: tar files with an image and what belongs to it under one name: 0001.jpg, 0001.txt, 0001.cls."""

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import PrivateAttr

from cl_core.data.path_roots import confined
from cl_core.data.sources import RawSample, Source, Unreadable
from cl_core.data.sources._image_files import IMAGE_FILES
from cl_core.data.sources._listing import fingerprint_of, listed_files, text_of
from cl_core.data.sources._path_labels import trimmed
from cl_core.data.sources._path_splits import PathSplits, path_splits
from cl_core.errors import DataError
from cl_core.modalities import joined
from cl_core.modalities._text_payloads import MAX_BYTES
from cl_core.modalities.text import Texts
from cl_core.refs import IMAGE
from cl_core.registry import SOURCES

_PAIRS = "image_text"
_TAR_SUFFIXES = frozenset((".tar",))
_TEXT, _LABEL, _JSON = ".txt", ".cls", ".json"
_READ = IMAGE_FILES.suffixes | {_TEXT, _LABEL, _JSON}


@SOURCES.register("webdataset")
class WebDataset(Source):
    """One tar file, or all below a folder. The files of a sample follow one another and have one name before a dot.

    Files of other kinds, such as `0001.seg.png`, are passed over.

    Of each sample the image is read, its text (`.txt`, or `caption` of `.json`), and its class (`.cls`, or `label` of
    `.json`). Folders such as `train`, or file names such as `train-0000.tar`, are splits if they tell two apart. With
    data.modality image_text, a sample without a text is quarantined as `no_text`; one without an image always is, as
    `no_image`.

    Source: the format of WebDataset, github.com/webdataset/webdataset.
    """

    modalities: ClassVar[tuple[str, ...]] = (IMAGE, _PAIRS)

    split_from: Literal["auto", "folder", "file_name", "none"] = "auto"
    """What names the split: folders, file names, or nothing. `auto`: the first of both that tells two apart."""

    _passed_over: Counter[str] = PrivateAttr(default_factory=Counter)
    _notes: list[str] = PrivateAttr(default_factory=list)

    def fingerprint(self, location: str) -> str:
        """Return a digest of the path and state of every file."""
        return fingerprint_of(path for _, path in self._files(location))

    def note(self, location: str) -> str:
        """Return how the paths were read when the files were last read."""
        return "; ".join(self._notes)

    def passed_over(self) -> dict[str, int]:
        """Return how many files the last listing, and other members of tar files the last reading, passed over."""
        return dict(sorted(self._passed_over.items()))

    def samples(self, location: str) -> Iterator[RawSample | Unreadable]:
        """Yield every sample, in the order of the files."""
        files = self._files(location)
        paths = [parts for parts, _ in files]
        root = confined(location, field="data.location")
        splits = PathSplits() if self.split_from == "none" else path_splits(paths, self.split_from, root)
        self._notes[:] = filter(None, [splits.note])
        for parts, path in files:
            for name, members in _grouped(path, self._passed_over):
                yield self._sample(members, splits.split(parts), f"{text_of(parts)}#{name}")

    def _sample(self, members: dict[str, bytes | None], split: str, origin: str) -> RawSample | Unreadable:
        files = {suffix: file for suffix, file in members.items() if file is not None}
        if refused := sorted(members.keys() - files.keys()):
            return Unreadable(origin, f"its {' and '.join(refused)} is there twice, or larger than what is read")
        about = _about(files.get(_JSON, b"{}"))
        images = [suffix for suffix in files if suffix in IMAGE_FILES.suffixes]
        if len(images) > 1:
            return Unreadable(origin, f"it has several images, {' and '.join(images)}; a sample has one")
        text, label = files.get(_TEXT, about.get("caption")), files.get(_LABEL, about.get("label"))
        if not images:
            return Unreadable(origin, "it has no image", reason="no_image")
        if self._modality == _PAIRS and text is None:
            detail = f"it has no {_TEXT}, and no caption in {_JSON}"
            return Unreadable(origin, detail, reason="no_text")
        is_pair = self._modality == _PAIRS and text is not None
        image = files[images[0]]
        payload = joined((image, Texts().payload_of(text))) if is_pair and text is not None else image
        return RawSample(payload, trimmed(label.decode(errors="backslashreplace")) if label else None, split, origin)

    def _files(self, location: str) -> list[tuple[list[str], Path]]:
        if not location:
            raise DataError("data.location is empty; give a tar file, or a folder of them")
        root = confined(location, field="data.location")
        self._passed_over.clear()
        if root.is_file():
            return [([root.name], root)]
        if not root.is_dir():
            raise DataError(f"data.location: there is no file or folder {root}; give a tar file, or a folder of them")
        found = listed_files(
            root, suffixes=_TAR_SUFFIXES, starts=lambda head: head[257:262] == b"ustar", passed_over=self._passed_over
        )
        files = sorted(found)
        if not files:
            raise DataError(f"data.location: {root} has no .tar file at any depth; give the folder that does")
        for _, path in files:
            confined(path, field="data.location")
        return files


def _grouped(path: Path, passed_over: Counter[str]) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    """Yield the files of each sample of a tar file by suffix; None for one that is too large, or there twice.

    Raises:
        DataError: When it is no tar file, or is cut off or damaged.
    """
    name, members, size = "", dict[str, bytes | None](), path.stat().st_size
    try:
        # Not compressed: little of a crafted file could otherwise become much.
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined] # It would keep them all.
                folder, slash, file = member.name.rpartition("/")
                # As WebDataset has it, a name ends at its first dot, and what follows says what a file is.
                stem, _, kind = file.partition(".")
                suffix = f".{kind.lower()}"
                if member.offset_data + member.size > size:
                    raise _damaged(path, f"{text_of([member.name])} is cut off")
                if not member.isfile() or not stem or suffix not in _READ:
                    passed_over[_counted_as(file)] += member.isfile()
                    continue
                if (of := f"{folder}{slash}{stem}") != name:
                    if members:
                        yield text_of([name]), members
                    name, members = of, {}
                most = IMAGE_FILES.most_bytes if suffix in IMAGE_FILES.suffixes else MAX_BYTES
                opened = archive.extractfile(member) if member.size <= most and suffix not in members else None
                members[suffix] = opened.read() if opened else None
            end = archive.offset
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    with path.open("rb") as whole:
        whole.seek(end)
        # A header that is damaged ends the reading as the end mark does.
        if whole.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise _damaged(path, f"there is no header, and no end mark, at byte {end:,}")
    if members:
        yield text_of([name]), members


def _damaged(path: Path, problem: str) -> DataError:
    return DataError(f"data.location: {path} cannot be read as a tar file ({problem}); write it again, uncompressed")


def _counted_as(file: str) -> str:
    """Return what a member is counted as that is passed over."""
    stem, dot, kind = file.partition(".")
    return "hidden" if not stem else text_of([f".{kind.rpartition('.')[2].lower()}"]) if dot else "no suffix"


def _about(file: bytes) -> dict[str, bytes]:
    """Return caption and label of a JSON object; nothing of all else."""
    try:
        values = json.loads(file)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    known = {name: values[name] for name in ("caption", "label") if isinstance(values.get(name), str | int)}
    return {name: str(value).encode(errors="surrogatepass") for name, value in known.items()}
