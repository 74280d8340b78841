"""Fashion-MNIST: 70,000 grayscale images of clothes, 28 pixels wide, in 10 classes."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cl_core.data.download import download
from cl_core.data.path_roots import confined
from cl_core.data.sources import RawSample, Source
from cl_core.data.sources._vectors import pixel_encoder
from cl_core.errors import DataError
from cl_core.registry import SOURCES

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"

# Of the unpacked files: how they were packed differs between distributions.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
# Of the packed files at the mirrors.
PACKED_SHA256 = {
    "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
)
# The largest file, packed and unpacked; a little gzip file can unpack to as much as the disk or the memory holds.
_PACKED_BYTES, _UNPACKED_BYTES = 26_421_880, 16 + 60_000 * 784
_DOWNLOAD_S = 600
PREFIXES = {"train": "train", "test": "t10k"}
_IMAGES = 70_000
_IMAGES_HEADER_BYTES, _LABELS_HEADER_BYTES = 16, 8


@SOURCES.register("fashion_mnist")
class FashionMNIST(Source):
    """The four IDX files, plain or gzipped, from the first of three places that has them.

    The places are the location, if one is given; the folder of Debian's package; a download.

    Source: Xiao et al. 2017, "Fashion-MNIST", arXiv:1708.07747. License: MIT, Zalando SE.
    """

    modalities: ClassVar[tuple[str, ...]] = ("image", "vector")

    download_folder: str = "~/.cache/counterpoint/fashion-mnist"
    """Where files are downloaded to if no other place has them. Empty: nothing is downloaded."""

    def fingerprint(self, location: str) -> str:
        """Return the four checksums, which `samples` requires: there is only one Fashion-MNIST."""
        self._folder(location)
        return " ".join(SHA256.values())

    def samples(self, location: str) -> Iterator[RawSample]:
        """Yield all 70,000 images, with the names of their classes, in the splits of the publication."""
        encoded = pixel_encoder(self._modality)
        folder = self._folder(location)
        for split, prefix in PREFIXES.items():
            images = _read(folder, f"{prefix}-images-idx3-ubyte", _IMAGES_HEADER_BYTES).reshape(-1, 28, 28, 1)
            labels = _read(folder, f"{prefix}-labels-idx1-ubyte", _LABELS_HEADER_BYTES)
            for row, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield RawSample(encoded(image), CLASSES[label], split, f"{prefix}-images-idx3-ubyte#{row}")

    def number_of_inputs(self, location: str) -> int:
        """Return 70,000."""
        return _IMAGES

    def _folder(self, location: str) -> Path:
        """Return the first of the three places that has all four files."""
        if location:
            folder = confined(location, field="data.location")
            if missing := _missing(folder):
                raise DataError(
                    f"data.location: {folder} lacks {', '.join(missing)} (plain or .gz); give the folder that holds "
                    f"Fashion-MNIST's four files, or leave the location empty to use {DEBIAN_FOLDER} or a download"
                )
            return folder
        if not _missing(DEBIAN_FOLDER):
            return DEBIAN_FOLDER
        return self._downloaded()

    def _downloaded(self) -> Path:
        problem = "source_options.download_folder is empty"
        if self.download_folder:
            # Where torchvision puts them, so that what it has downloaded once is not downloaded again.
            folder = confined(self.download_folder, field="data.source_options.download_folder") / "FashionMNIST/raw"
            try:
                for name in _missing(folder):
                    _download_from_mirrors(name, folder / f"{name}.gz")
                return folder
            except (OSError, DataError) as error:
                problem = str(error)
        raise DataError(
            "Fashion-MNIST was not found in any of three places: no folder is given as data.location; "
            f"{DEBIAN_FOLDER} lacks {', '.join(_missing(DEBIAN_FOLDER))}; the download into "
            f"{self.download_folder!r} failed ({problem}). "
            f"On Debian or Ubuntu run `apt-get install {DEBIAN_PACKAGE}`; elsewhere give a folder with the four files"
        )


def _missing(folder: Path) -> list[str]:
    return [name for name in SHA256 if not (folder / name).is_file() and not (folder / f"{name}.gz").is_file()]


def _download_from_mirrors(name: str, target: Path) -> None:
    """Download a packed file from the first mirror that has it.

    Raises:
        DataError: When none has it.
    """
    problems = []
    for mirror in MIRRORS:
        try:
            url, sha256 = f"{mirror}{name}.gz", PACKED_SHA256[name]
            return download(url, target, sha256=sha256, max_bytes=_PACKED_BYTES, timeout_s=_DOWNLOAD_S)
        except DataError as error:
            problems.append(str(error))
    raise DataError("; ".join(problems))


def _read(folder: Path, name: str, header_bytes: int) -> NDArray[np.uint8]:
    """Return the values of an IDX file after its header; its bytes must be the published ones."""
    path = folder / name if (folder / name).is_file() else folder / f"{name}.gz"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data: bytes = file.read(_UNPACKED_BYTES + 1)
        if len(data) > _UNPACKED_BYTES:
            raise ValueError(f"it holds more than the {_UNPACKED_BYTES:,} bytes of the largest file")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); download it again") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256[name]:
        raise DataError(
            f"{path} is not Fashion-MNIST's {name}: sha256 {digest[:12]}…, expected {SHA256[name][:12]}…; "
            "delete it and download it again"
        )
    return np.frombuffer(data, np.uint8, offset=header_bytes)
