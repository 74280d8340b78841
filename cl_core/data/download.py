"""Fetching a file from the web, such that an address cannot be used to reach into the network that we run in.

https only; every address that a host's name stands for must be a public one, and the one that was looked at is the
one that is connected to; the same for each redirect. Size and time are capped, and the bytes are compared with a
checksum before they get their name. Proxies of the environment are not used: behind one, nobody here could tell what
is reached.
"""

import contextlib
import hashlib
import http.client
import ipaddress
import os
import socket
import ssl
import threading
import time
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from cl_core.artifact_dir import disk_full_as_error, replacing
from cl_core.errors import DataError

LOOPBACK_SETTING = "CL_FETCH_LOOPBACK"
"""Set to 1, http and https to this machine's own loopback addresses are allowed: for tests and local mirrors."""

_MAX_REDIRECTS = 5
_CHUNK_BYTES = 1 << 20
_SILENCE_S = 30  # Without a byte for so long, a server counts as hung.
_REDIRECTS = (301, 302, 303, 307, 308)
# Translations and tunnels: a public-looking IPv6 address that stands for an IPv4 address within.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _Place(NamedTuple):
    """A checked address to connect to."""

    url: str
    scheme: str
    host: str
    port: int
    address: str
    path: str


def download(url: str, target: Path, *, sha256: str = "", max_bytes: int, timeout_s: float) -> None:
    """Download a file; it gets its name only when it is whole and the right one.

    Args:
        url: https.
        target: File to write; replaced when there is one.
        sha256: Of the file, hexadecimal; empty where the caller compares what it unpacks.
        max_bytes: A larger file is refused while it comes.
        timeout_s: For all of it, redirects included. Seconds.

    Raises:
        DataError: When the address is refused, the server does not deliver, or the file is too large or another one.
        StorageFullError: When the disk is full.
    """
    deadline = time.monotonic() + timeout_s
    with disk_full_as_error(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        found = _download(url, temporary, max_bytes=max_bytes, deadline=deadline)
        if sha256 and found != sha256:
            raise DataError(
                f"{url} is not the file that was wanted: sha256 {found[:12]}…, expected {sha256[:12]}…; "
                "fetch it by hand from a place you trust"
            )


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet: no private, loopback, link-local, metadata or multicast one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _download(url: str, temporary: Path, *, max_bytes: int, deadline: float) -> str:
    """Write what comes to a file; its sha256."""
    for _ in range(_MAX_REDIRECTS + 1):
        place = _checked(url)
        connection, plain = _connected(place, deadline)
        # Each wait is bounded by itself; this bounds a server that sends its headers letter by letter, too.
        watchdog = threading.Timer(_remaining(url, deadline, silence=False), _hang_up, [plain])
        watchdog.daemon = True
        watchdog.start()
        try:
            connection.request("GET", place.path, headers={"User-Agent": "counterpoint", "Accept-Encoding": "identity"})
            response = connection.getresponse()
            if response.status in _REDIRECTS:
                url = urllib.parse.urljoin(url, response.headers.get("Location", ""))
                continue
            if response.status != http.HTTPStatus.OK:
                raise DataError(f"{url} answers {response.status} {response.reason}; correct the address")
            return _received(url, response, plain, temporary, max_bytes=max_bytes, deadline=deadline)
        except (OSError, http.client.HTTPException) as error:
            _remaining(url, deadline)
            raise DataError(f"{url} cannot be fetched ({type(error).__name__}: {error}); try again later") from error
        finally:
            watchdog.cancel()
            connection.close()
    raise DataError(f"{url} is redirected more than {_MAX_REDIRECTS} times; give the address that it ends at")


def _received(
    url: str,
    response: http.client.HTTPResponse,
    plain: socket.socket,
    temporary: Path,
    *,
    max_bytes: int,
    deadline: float,
) -> str:
    seen, size = hashlib.sha256(), 0
    with temporary.open("wb") as file:
        while True:
            plain.settimeout(_remaining(url, deadline))
            # One read of the socket at a time, so that a server that trickles cannot outlast the deadline.
            chunk = response.read1(_CHUNK_BYTES)
            if not chunk:
                break
            size += len(chunk)
            if size > max_bytes:
                raise DataError(f"{url} is larger than the {max_bytes:,} bytes that are fetched at most")
            seen.update(chunk)
            file.write(chunk)
    _remaining(url, deadline)  # Where a connection was ended for its time, no more bytes come either.
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) != size:
        raise DataError(f"{url} broke off after {size:,} of {int(announced):,} bytes; try again later")
    return seen.hexdigest()


def _checked(url: str) -> _Place:
    """Where an address leads, when it may be fetched.

    Raises:
        DataError: When it may not; says why.
    """
    parts = urllib.parse.urlsplit(url)
    loopback_allowed = os.environ.get(LOOPBACK_SETTING) == "1"
    try:
        host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError as error:
        raise DataError(f"{url} is no web address ({error}); give one that starts with https://") from error
    if parts.scheme not in ("https", *(["http"] if loopback_allowed else [])) or not host:
        raise DataError(f"{url} is refused: only https:// is fetched; give such an address, or a local file")
    if parts.username or parts.password:
        raise DataError(f"an address at {host} is refused, because it holds a password; leave that out")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DataError(f"{url} cannot be fetched: {host} is not known ({error}); correct the address") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    loopback = all(address.is_loopback for address in addresses)
    if parts.scheme == "http" and not loopback:
        raise DataError(f"{url} is refused: only https:// is fetched; give such an address, or a local file")
    # One forbidden address among several is enough: who chooses the names would only have to ask again.
    inside = [address for address in addresses if not is_public(address)]
    if inside and not (loopback and loopback_allowed):
        raise DataError(
            f"{url} is refused: {host} is {inside[0]}, an address inside this network, not of the public internet; "
            "give a public address, or put the file where a path leads to it"
        )
    path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (
        f"?{parts.query}" if parts.query else ""
    )
    return _Place(url, parts.scheme, host, port, str(addresses[0]), path)


def _connected(place: _Place, deadline: float) -> tuple[http.client.HTTPConnection, socket.socket]:
    """A connection to the very address that was checked, and its socket; the certificate must still be the host's."""
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.host, place.port)
    try:
        plain = socket.create_connection((place.address, place.port), _remaining(place.url, deadline))
        if place.scheme == "https":
            plain = ssl.create_default_context().wrap_socket(plain, server_hostname=place.host)
    except OSError as error:
        raise DataError(
            f"{place.url} cannot be fetched ({type(error).__name__}: {error}); try again later, or fetch it by hand"
        ) from error
    # What http.client would do by itself, but for asking once more which address the name stands for.
    connection.sock = plain
    return connection, plain


def _hang_up(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _remaining(url: str, deadline: float, *, silence: bool = True) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise DataError(f"{url} takes longer than it may; try again later, or fetch it by hand")
    return min(left, _SILENCE_S) if silence else left
