"""Fetching from the web: from real servers on this machine, and from addresses that must not be reached."""

import datetime
import hashlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cl_core.data.download import download, is_public
from cl_core.errors import DataError

BODY = bytes(range(256)) * 400
SHA256 = hashlib.sha256(BODY).hexdigest()
LIMITS = {"max_bytes": len(BODY), "timeout_s": 20}


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


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("CL_FETCH_LOOPBACK", "1")
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield server
        with server.silence:
            server.silence.notify_all()
        server.shutdown()


@pytest.fixture
def address(server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize("path", ["/file", "/without-length", "/to?/file", "/to?/to?/file"])
def test_a_file_gets_its_name_when_it_is_whole_and_the_right_one(address, tmp_path, path):
    download(address + path, tmp_path / "new" / "file", sha256=SHA256, **LIMITS)
    assert (tmp_path / "new" / "file").read_bytes() == BODY
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nothing", "answers 404"),
        ("/short", "broke off|cannot be fetched .IncompleteRead"),
        ("/to?/to?/to?/to?/to?/to?/file", "redirected more than 5 times"),
        ("/to?file:///etc/passwd", "only https:// is fetched"),
        ("/to?ftp://127.0.0.1/x", "only https:// is fetched"),
        ("/to?http://10.0.0.1/x", "only https:// is fetched"),
        ("/to?https://10.0.0.1/x", "10.0.0.1, an address inside this network"),
        ("/to?https://169.254.169.254/latest/meta-data", "169.254.169.254, an address inside this network"),
        ("/to?https://[::ffff:192.168.0.1]/", "an address inside this network"),
        ("/to?https://2130706433.invalid/", "is not known"),
        ("/to?https://a:b@example.com/", "because it holds a password"),
        ("/to?https://host:99999/", "is no web address"),
    ],
)
def test_what_must_not_or_cannot_be_fetched_is_refused_and_leaves_nothing(address, tmp_path, path, message):
    (tmp_path / "file").write_text("the old one")
    with pytest.raises(DataError, match=message):
        download(address + path, tmp_path / "file", **LIMITS)
    assert (tmp_path / "file").read_text() == "the old one"
    assert len(list(tmp_path.iterdir())) == 1


def test_other_bytes_than_the_wanted_ones_are_refused(address, tmp_path):
    with pytest.raises(DataError, match=rf"sha256 {SHA256[:12]}…, expected 000000000000…"):
        download(f"{address}/file", tmp_path / "file", sha256="0" * 64, **LIMITS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/file", "/without-length"])
def test_a_file_of_one_byte_too_many_is_refused(address, tmp_path, path):
    with pytest.raises(DataError, match="larger than the 102,399 bytes"):
        download(address + path, tmp_path / "file", max_bytes=len(BODY) - 1, timeout_s=20)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/trickle", "/headers"])
def test_a_server_that_trickles_cannot_outlast_the_time(address, tmp_path, path):
    began = time.monotonic()
    with pytest.raises(DataError, match="takes longer than it may"):
        download(address + path, tmp_path / "file", max_bytes=1000, timeout_s=1)
    assert time.monotonic() - began < 5


def test_without_the_setting_loopback_and_plain_http_are_refused_and_nobody_is_asked(
    server, address, tmp_path, monkeypatch
):
    monkeypatch.delenv("CL_FETCH_LOOPBACK")
    with pytest.raises(DataError, match="only https:// is fetched"):
        download(f"{address}/file", tmp_path / "file", **LIMITS)
    for host in ("127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1"):
        with pytest.raises(DataError, match="an address inside this network"):
            download(f"https://{host}:{server.server_port}/file", tmp_path / "file", **LIMITS)
    assert server.asked == []


@pytest.mark.parametrize("first", ["10.1.2.3", "93.184.215.14"])
def test_a_name_with_one_address_inside_is_refused(monkeypatch, tmp_path, first):
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443)) for each in (first, "192.168.1.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    with pytest.raises(DataError, match="an address inside this network"):
        download("https://example.com/file", tmp_path / "file", **LIMITS)


def test_the_address_that_was_looked_at_is_the_one_that_is_connected_to(monkeypatch, tmp_path):
    """A name server that says a public address first, and this machine's own when asked again, gains nothing."""
    asked, connected, look_up = [], [], socket.getaddrinfo

    def changing(host, *arguments, **named):
        asked.append(host)
        return look_up("93.184.215.14" if len(asked) == 1 else "127.0.0.1", *arguments, **named)

    def refuse(address, *_, **__):
        connected.append(address)
        raise OSError("no way out of this test")

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(DataError, match="no way out of this test"):
        download("https://example.com/file", tmp_path / "file", **LIMITS)
    assert (asked, connected) == (["example.com"], [("93.184.215.14", 443)])


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "::ffff:10.0.0.1"),
        *("::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1"),
    ],
)
def test_addresses_inside_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate for `localhost` that nobody has signed, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=localhost")
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    encoding = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(encoding)
    )
    return path


@pytest.fixture
def https(server, certificate) -> int:
    """The port of the same server behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server.server_port


def test_over_https_the_certificate_must_be_the_hosts(https, certificate, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="certificate verify failed"):
        download(f"https://localhost:{https}/file", tmp_path / "file", **LIMITS)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    download(f"https://localhost:{https}/file", tmp_path / "file", sha256=SHA256, **LIMITS)
    with pytest.raises(DataError, match=r"not valid for '127.0.0.1'|Hostname mismatch|IP address mismatch"):
        download(f"https://127.0.0.1:{https}/file", tmp_path / "other", **LIMITS)
