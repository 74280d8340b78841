"""Downloads from a real https server on this machine."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tls

from cl_core.data.download import download
from cl_core.errors import DataError

BODY = bytes(range(256)) * 400
SHA256 = hashlib.sha256(BODY).hexdigest()
CHECKS = {"sha256": SHA256, "max_bytes": len(BODY), "timeout_s": 60}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        place, _, query = self.path.partition("?")
        if place == "/to":
            self.send_response(302)
            self.send_header("Location", query)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif place == "/file":
            self.answer(str(len(BODY)), BODY)
        elif place == "/without-length":
            self.answer("", BODY)
        elif place == "/short":
            self.answer(str(len(BODY) + 1), BODY)
        elif place in ("/trickle", "/headers"):
            if place == "/trickle":
                self.answer("1000", b"")
            else:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            with self.server.silence:
                for _ in range(80):
                    if self.server.silence.wait(0.1):
                        return
                    self.wfile.write(b"x")
        else:
            self.send_error(404)

    def answer(self, length, body):
        self.send_response(200)
        if length:
            self.send_header("Content-Length", length)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.silence = threading.Condition()

    def handle_error(self, *_):
        """A client that hangs up is what several of these tests are about."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    tls.write_certificate(path)
    return path


@pytest.fixture
def server(certificate, monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Server() as server:
        server.socket = tls.server_context(certificate).wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield server
        with server.silence:
            server.silence.notify_all()
        server.shutdown()


@pytest.fixture
def address(server) -> str:
    return f"https://localhost:{server.server_port}"


@pytest.mark.parametrize("path", ["/file", "/without-length", "/to?/file", "/to?/to?/file"])
def test_a_file_gets_its_name_when_it_is_whole_and_the_right_one(address, tmp_path, path):
    download(address + path, tmp_path / "new" / "file", **CHECKS)
    assert (tmp_path / "new" / "file").read_bytes() == BODY
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nothing", "answers 404"),
        ("/short", "cannot be downloaded .RemoteProtocolError: peer closed connection"),
        ("/to?/to?/to?/to?/to?/to?/file", "cannot be downloaded .TooManyRedirects"),
        ("/to?file:///etc/passwd", "only https:// addresses are downloaded"),
        ("/to?ftp://127.0.0.1/x", "only https:// addresses are downloaded"),
        ("/to?http://10.0.0.1/x", "http://10.0.0.1/x is refused: only https:// addresses are downloaded"),
        ("/to?https://2130706433.invalid/", "cannot be downloaded .ConnectError"),
        ("/to?https://host:99999/", "cannot be downloaded .ConnectError"),
    ],
)
def test_what_must_not_or_cannot_be_downloaded_is_refused_and_leaves_nothing(address, tmp_path, path, message):
    (tmp_path / "file").write_text("the old one")
    with pytest.raises(DataError, match=message):
        download(address + path, tmp_path / "file", **CHECKS)
    assert (tmp_path / "file").read_text() == "the old one"
    assert len(list(tmp_path.iterdir())) == 1


def test_other_bytes_than_the_expected_ones_are_refused(address, tmp_path):
    with pytest.raises(DataError, match=rf"sha256 {SHA256[:12]}…, expected 000000000000…"):
        download(f"{address}/file", tmp_path / "file", **(CHECKS | {"sha256": "0" * 64}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/file", "/without-length"])
def test_a_file_of_one_byte_too_many_is_refused(address, tmp_path, path):
    with pytest.raises(DataError, match="larger than the limit of 102,399 bytes"):
        download(address + path, tmp_path / "file", **(CHECKS | {"max_bytes": len(BODY) - 1}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/trickle", "/headers"])
def test_a_server_that_trickles_cannot_outlast_the_time(address, tmp_path, path):
    began = time.monotonic()
    with pytest.raises(DataError, match="takes longer than 1 s"):
        download(address + path, tmp_path / "file", **(CHECKS | {"timeout_s": 1}))
    assert time.monotonic() - began < 5
    assert list(tmp_path.iterdir()) == []


def test_a_plain_http_address_is_refused_without_a_request(server, tmp_path):
    with pytest.raises(DataError, match="only https:// addresses are downloaded"):
        download(f"http://localhost:{server.server_port}/file", tmp_path / "file", **CHECKS)
    assert server.asked == []


def test_the_certificate_must_be_the_hosts_and_of_a_known_authority(server, address, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"not valid for '127.0.0.1'|Hostname mismatch|IP address mismatch"):
        download(f"https://127.0.0.1:{server.server_port}/file", tmp_path / "file", **CHECKS)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(DataError, match="certificate verify failed"):
        download(f"{address}/file", tmp_path / "file", **CHECKS)
    assert server.asked == []
