"""Listen addresses of servers: loopback without a password, every other one only with authentication."""

import ipaddress
import os
from collections.abc import Mapping
from typing import Literal

from cl_core.errors import InputError

# Settings that are required before other machines may reach a server. Without MLflow's, its authentication would not
# start, or anyone could forge its sessions.
_AUTHENTICATION = {
    "prefect": ("PREFECT_SERVER_API_AUTH_STRING",),
    "mlflow": ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"),
}
_FORMS = {"PREFECT_SERVER_API_AUTH_STRING": "USER:PASSWORD"}

MLFLOW_AUTHENTICATION = ("--app-name", "basic-auth")
"""Arguments of `mlflow server` that turn authentication on; it needs the settings that `check_bind` requires."""


def check_bind(host: str, *, server: Literal["prefect", "mlflow"], environment: Mapping[str, str] = os.environ) -> None:
    """Refuse a listen address other than loopback unless the server asks for a password.

    Args:
        host: Address or name to listen on.
        server: That listens.
        environment: Its settings.

    Raises:
        InputError: When other machines could reach it without authentication; names the missing settings.
    """
    if is_loopback(host):
        return
    missing = [name for name in _AUTHENTICATION[server] if not _is_set(name, environment.get(name, ""))]
    if missing:
        settings = [f"{name} (as {_FORMS[name]})" if name in _FORMS else name for name in missing]
        raise InputError(
            f"{server} on {host or 'all addresses'} would answer every machine without a password; "
            f"set {' and '.join(settings)}, or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host. Names other than localhost are not resolved and count as reachable."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback


def _is_set(name: str, value: str) -> bool:
    if name not in _FORMS:
        return bool(value.strip())
    user, _, password = value.partition(":")
    return bool(user.strip() and password.strip())
