import functools
import gzip
import io
import shutil
import struct
import threading
import tracemalloc
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import tls
from PIL import Image

from cl_core.data.sources import fashion_mnist
from cl_core.data.sources.fashion_mnist import CLASSES, DEBIAN_FOLDER, SHA256, FashionMNIST
from cl_core.errors import DataError

needs_debian = pytest.mark.skipif(
    not DEBIAN_FOLDER.is_dir(), reason=f"needs Debian's copy: sudo apt-get install {fashion_mnist.DEBIAN_PACKAGE}"
)

# When the authors packed each file, in seconds since 1970. Debian's copies lack this and the name in their headers,
# and are the published files byte for byte otherwise, as torchvision's checksums of those confirm.
PACKED_AT = {
    "train-images-idx3-ubyte": 1504176606,
    "train-labels-idx1-ubyte": 1504176606,
    "t10k-images-idx3-ubyte": 1504176627,
    "t10k-labels-idx1-ubyte": 1504176627,
}


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder with the published files that are downloaded from over https, and the paths that were asked for."""
    folder, asked = tmp_path / "mirror", []
    folder.mkdir()
    for name, seconds in PACKED_AT.items():
        packed = (DEBIAN_FOLDER / f"{name}.gz").read_bytes()
        header = b"\x1f\x8b\x08\x08" + struct.pack("<I", seconds) + b"\0\3" + name.encode() + b"\0"
        (folder / f"{name}.gz").write_bytes(header + packed[10:])

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_):
            asked.append(self.path)

    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "no-debian")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        certificate = tmp_path / "localhost.pem"
        tls.write_certificate(certificate)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        server.socket = tls.server_context(certificate).wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(fashion_mnist, "MIRRORS", [f"https://localhost:{server.server_port}/"])
        yield folder, asked
        server.shutdown()


@pytest.mark.integration
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


@pytest.mark.integration
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


@pytest.mark.integration
@needs_debian
def test_a_download_gives_the_samples_of_debians_files_and_is_made_once(tmp_path, mirror):
    _, asked = mirror
    source = FashionMNIST(download_folder=str(tmp_path / "downloads"))
    for downloaded, debians in zip(source.samples(""), FashionMNIST().samples(str(DEBIAN_FOLDER)), strict=True):
        assert downloaded == debians
    assert set(asked) == {f"/{name}.gz" for name in PACKED_AT}
    asked.clear()
    next(source.samples(""))
    assert asked == []


@pytest.mark.integration
@needs_debian
def test_a_download_of_other_bytes_is_refused_and_repaired_by_the_next(tmp_path, mirror):
    folder, _ = mirror
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    published = labels.read_bytes()
    labels.write_bytes(published[:-1] + bytes([published[-1] ^ 1]))
    source = FashionMNIST(download_folder=str(tmp_path / "downloads"))
    with pytest.raises(
        DataError, match=r"the download into .*downloads' failed \(https://localhost.* is another file"
    ) as e:
        source.fingerprint("")
    assert "\n" not in str(e.value)
    labels.write_bytes(published)
    assert next(source.samples("")).label == "Ankle boot"


@pytest.mark.integration
@needs_debian
def test_what_changes_in_the_download_folder_is_refused(tmp_path, mirror):
    source = FashionMNIST(download_folder=str(tmp_path / "downloads"))
    source.fingerprint("")
    (packed,) = (tmp_path / "downloads").rglob("train-images-idx3-ubyte.gz")
    changed = bytearray(gzip.decompress(packed.read_bytes()))
    changed[1000] ^= 1
    packed.write_bytes(gzip.compress(changed, 1))
    with pytest.raises(
        DataError, match=r"is not Fashion-MNIST's train-images-idx3-ubyte: sha256 .*; delete it and download it again"
    ):
        next(source.samples(""))


def test_when_nothing_is_found_the_error_names_all_three_places(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(fashion_mnist, "MIRRORS", ["https://first.invalid/", "https://second.invalid/"])
    with pytest.raises(DataError) as raised:
        FashionMNIST(download_folder=str(tmp_path / "cache")).fingerprint("")
    message = str(raised.value)
    for part in ("data.location", str(tmp_path / "debian"), str(tmp_path / "cache"), "first.invalid", "second.invalid"):
        assert part in message
    assert "apt-get install dataset-fashion-mnist" in message


@pytest.mark.integration
def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(tmp_path):
    """256 MiB of zeros in 256 KiB: reading stops after the 47 MB that the largest file holds."""
    bomb = gzip.compress(bytes(1 << 28), 9)
    assert len(bomb) < 1 << 19
    for name in SHA256:
        (tmp_path / f"{name}.gz").write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="holds more than the 47,040,016 bytes of the largest file"):
            next(FashionMNIST().samples(str(tmp_path)))
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


def test_without_a_download_folder_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path)
    with pytest.raises(DataError, match=r"source_options.download_folder is empty"):
        FashionMNIST(download_folder="").fingerprint("")
