import gzip
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from cl_core.data.sources import fashion_mnist
from cl_core.data.sources.fashion_mnist import CLASSES, DEBIAN_FOLDER, SHA256, FashionMNIST
from cl_core.errors import DataError

needs_debian = pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="needs Debian's package dataset-fashion-mnist")


@needs_debian
def test_the_first_and_last_images_are_those_of_the_files():
    samples = list(FashionMNIST().samples(""))
    assert len(samples) == 70_000
    images = gzip.decompress((DEBIAN_FOLDER / "train-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((DEBIAN_FOLDER / "t10k-labels-idx1-ubyte.gz").read_bytes())
    first, last = samples[0], samples[-1]
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(first.payload))),
        np.frombuffer(images[16 : 16 + 784], np.uint8).reshape(28, 28),
    )
    assert (first.label, first.split, first.origin) == ("Ankle boot", "train", "train-images-idx3-ubyte#0")
    assert (last.label, last.split) == (CLASSES[labels[-1]], "test")


@needs_debian
def test_plain_and_gzipped_files_of_a_named_folder_are_read(tmp_path):
    for name in SHA256:
        packed = DEBIAN_FOLDER / f"{name}.gz"
        if "labels" in name:
            (tmp_path / name).write_bytes(gzip.decompress(packed.read_bytes()))
        else:
            shutil.copy(packed, tmp_path)
    sample = next(FashionMNIST().samples(str(tmp_path)))
    assert sample == next(FashionMNIST().samples(""))


def test_a_named_folder_without_the_files_is_an_error_that_lists_them(tmp_path):
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match=r"lacks train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-u"):
        FashionMNIST().fingerprint(str(tmp_path))


def test_other_bytes_under_the_right_name_are_refused(tmp_path):
    for name in SHA256:
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(
        DataError, match=r"is not Fashion-MNIST's train-images-idx3-ubyte: sha256 \w{12}…, expected c59f"
    ):
        next(FashionMNIST().samples(str(tmp_path)))


def test_a_truncated_gzip_is_refused(tmp_path):
    for name in SHA256:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"x" * 1000)[:-10])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz cannot be read"):
        next(FashionMNIST().samples(str(tmp_path)))


def test_when_nothing_is_found_the_error_names_all_three_places(tmp_path, monkeypatch):
    from torchvision import datasets

    def unreachable(root: str, download: bool = False) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(datasets, "FashionMNIST", unreachable)
    with pytest.raises(DataError) as raised:
        FashionMNIST(download_folder=str(tmp_path / "cache")).fingerprint("")
    message = str(raised.value)
    for part in ("data.location", str(tmp_path / "debian"), str(tmp_path / "cache"), "no route to host"):
        assert part in message
    assert "apt-get install dataset-fashion-mnist" in message


def test_without_a_download_folder_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path)
    with pytest.raises(DataError, match=r"source_options.download_folder is empty"):
        FashionMNIST(download_folder="").fingerprint("")
