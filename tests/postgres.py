"""Debian's PostgreSQL, with a cluster of its own that is gone afterwards."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from servers import free_port

PASSWORD = "not-for-any-eye-5d41"  # Looked for where it must not be.
REMEDY = "sudo apt-get install postgresql"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip(f"PostgreSQL is not installed; {REMEDY}")
    return found[-1].parent


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The address of an empty database whose owner is no superuser."""
    programs, port = _programs(), free_port()
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    under = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="cl-pg-", dir="/tmp"))
    shutil.chown(folder, user)
    password = folder / "password"
    password.write_text(PASSWORD)
    shutil.chown(password, user)

    def run(program: str, *arguments: str) -> None:
        subprocess.run([*under, str(programs / program), *arguments], check=True, capture_output=True, cwd=folder)

    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync")
    settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", settings, "start")
    try:
        admin = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"CREATE USER counterpoint PASSWORD '{PASSWORD}'")
            connection.execute("CREATE DATABASE counterpoint OWNER counterpoint")
        yield f"postgresql://counterpoint:{PASSWORD}@127.0.0.1:{port}/counterpoint"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)
