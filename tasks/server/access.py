"""Addresses and ports of servers: loopback without a password, every other only with one; a port that is free."""

import contextlib
import ipaddress
import socket
from typing import Literal

import psutil

from cl_core.errors import InputError
from tasks.runtime.settings import Settings

MLFLOW_AUTHENTICATION = ("--app-name", "basic-auth")
"""Arguments of `mlflow server` that turn authentication on; it needs the settings that `check_bind` requires."""


def check_bind(host: str, settings: Settings, *, server: Literal["prefect", "mlflow"]) -> None:
    """Refuse a listen address other than loopback unless the server asks for a password.

    Raises:
        InputError: When other machines could reach it without authentication; names the missing settings.
    """
    if is_loopback(host):
        return
    user, _, password = settings.prefect_account.get_secret_value().partition(":")
    # Without MLflow's settings, its authentication would not start, or anyone could forge its sessions.
    required = {
        "prefect": {"PREFECT_SERVER_API_AUTH_STRING (as USER:PASSWORD)": user.strip() and password.strip()},
        "mlflow": {
            "MLFLOW_AUTH_ADMIN_PASSWORD": settings.mlflow_admin_password.get_secret_value().strip(),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": settings.mlflow_session_key.get_secret_value().strip(),
        },
    }[server]
    if missing := [name for name, value in required.items() if not value]:
        raise InputError(
            f"{server} on {host or 'all addresses'} would answer every machine without a password; "
            f"set {' and '.join(missing)}, or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host. Names other than localhost are not resolved and count as reachable."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_free(port: int, name: str, host: str) -> None:
    """Refuse a port that another process listens on.

    Raises:
        InputError: Names that process, if this user may see it.
    """
    with socket.socket() as listener:
        # As servers do: a connection that is being closed does not block the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind((host, port))
            return
    raise InputError(
        f"the {name} cannot listen on port {port}: {_owner(port)} uses it; stop that process, or choose another port"
    )


def _owner(port: int) -> str:
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(connection.pid)
                return f"process {process.pid} of {process.username()} ({' '.join(process.cmdline())[:120]})"
    return "a process of another user"
