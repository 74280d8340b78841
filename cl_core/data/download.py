"""Download a file over https, or fetch a package of npm; it gets its name only when its checksum is right."""

import asyncio
import hashlib
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

import httpx

from cl_core.artifact_dir import disk_full_as_error, replacing
from cl_core.errors import DataError
from cl_core.hashing import file_sha256

_MAX_REDIRECTS = 5
_NPM_S = 600
_SILENCE_S = 30  # Without a byte for so long, a server counts as hung.


def download(url: str, target: Path, *, sha256: str, max_bytes: int, timeout_s: float) -> None:
    """Download a file and replace `target` by it once it is complete and verified.

    Args:
        url: https; every redirect must be https, too.
        target: File to write.
        sha256: Of the file, hexadecimal.
        max_bytes: A larger file is refused while it arrives.
        timeout_s: For the whole download, redirects included. Seconds.

    Raises:
        DataError: When an address is not https, the server does not deliver, or the file is too large or another one.
        StorageFullError: When the disk is full.
    """
    with disk_full_as_error(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        received = asyncio.run(_receive(url, temporary, max_bytes=max_bytes, timeout_s=timeout_s))
        if received != sha256:
            raise DataError(
                f"{url} is another file: sha256 {received[:12]}…, expected {sha256[:12]}…; "
                "download it by hand from a place you trust"
            )


def npm_pack(package: str, target: Path, *, sha256: str) -> None:
    """Fetch a package by `npm pack`, from the registry that npm is set to; `target` is replaced by it once verified.

    Args:
        package: Name and version, such as emojibase-data@17.0.0.
        target: File to write, with the name that npm gives it.
        sha256: Of the file, hexadecimal.

    Raises:
        DataError: When npm is not installed, fails, or brings another file.
        StorageFullError: When the disk is full.
    """
    by_hand = f"run `npm pack {package}` on a machine that can, and copy the file to {target}"
    if not (npm := shutil.which("npm")):
        raise DataError(f"{target} is missing, and npm, which fetches it, is not installed; install npm, or {by_hand}")
    with disk_full_as_error(target), tempfile.TemporaryDirectory(prefix="cl-npm-") as folder:
        command = [npm, "pack", "--silent", f"--pack-destination={folder}", package]
        try:
            subprocess.run(  # noqa: S603 - npm, as it was found
                command,
                check=True,
                capture_output=True,
                timeout=_NPM_S,
                cwd=folder,
                env=None,  # All of it: npm's settings may be there.
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(f"npm has not brought {package} within {_NPM_S} s; try again, or {by_hand}") from error
        except subprocess.CalledProcessError as error:
            reason = " ".join(error.stderr.decode(errors="replace").split())[-300:] or f"exit code {error.returncode}"
            raise DataError(f"npm cannot fetch {package} ({reason}); try again, or {by_hand}") from error
        packed = Path(folder, target.name)
        if not packed.is_file() or (received := file_sha256(packed)) != sha256:
            other = f"sha256 {received[:12]}…, expected {sha256[:12]}…" if packed.is_file() else "it has another name"
            raise DataError(f"npm brings another file as {package}: {other}; set npm to a registry that you trust")
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            shutil.copyfile(packed, temporary)


async def _receive(url: str, temporary: Path, *, max_bytes: int, timeout_s: float) -> str:
    """Write the response to a file and return its sha256.

    Asynchronous, since httpx itself bounds only each wait: a server that sends its headers letter by letter would
    outlast any of them.
    """
    digest, size = hashlib.sha256(), 0
    client = httpx.AsyncClient(
        verify=ssl.create_default_context(),
        timeout=_SILENCE_S,
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
        event_hooks={"request": [_require_https]},
    )
    try:
        async with (
            asyncio.timeout(timeout_s),
            client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            response.raise_for_status()
            with temporary.open("wb") as file:
                async for chunk in response.aiter_raw():
                    size += len(chunk)
                    if size > max_bytes:
                        raise DataError(f"{url} is larger than the limit of {max_bytes:,} bytes")
                    digest.update(chunk)
                    file.write(chunk)
    except TimeoutError as error:
        raise DataError(f"{url} takes longer than {timeout_s:g} s; try again later, or download it by hand") from error
    except httpx.HTTPStatusError as error:
        answer = error.response
        raise DataError(f"{url} answers {answer.status_code} {answer.reason_phrase}; download it by hand") from error
    except httpx.HTTPError as error:
        raise DataError(f"{url} cannot be downloaded ({type(error).__name__}: {error}); try again later") from error
    return digest.hexdigest()


async def _require_https(request: httpx.Request) -> None:
    """Refuse an address, or a redirect, that is not https."""
    if request.url.scheme != "https":
        raise DataError(f"{request.url} is refused: only https:// addresses are downloaded")
