"""Where servers may listen: on this machine's loopback, or elsewhere if they ask who is there."""

import ipaddress
import os
from collections.abc import Mapping
from typing import Literal

from cl_core.errors import InputError

# Each must be set before the server may be reached from other machines; without any of MLflow's, its own
# authentication would not start, or anyone could forge its sessions.
_AUTHENTICATION = {
    "prefect": ("PREFECT_SERVER_API_AUTH_STRING",),
    "mlflow": ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"),
}
_FORMS = {"PREFECT_SERVER_API_AUTH_STRING": "USER:PASSWORD"}

MLFLOW_AUTHENTICATION = ("--app-name", "basic-auth")
"""Arguments of `mlflow server` that turn its authentication on; with it, the settings that `check_bind` asks for."""


def check_bind(host: str, *, server: Literal["prefect", "mlflow"], environment: Mapping[str, str] = os.environ) -> None:
    """Let a server listen on a loopback address; on another only if who comes must say a password.

    Args:
        host: Address or name to listen on.
        server: Which one.
        environment: Where its settings are.

    Raises:
        InputError: When it could be reached from other machines without authentication; names the settings.
    """
    if is_loopback(host):
        return
    missing = [name for name in _AUTHENTICATION[server] if not _is_given(name, environment.get(name, ""))]
    if missing:
        named = [f"{name} (as {_FORMS[name]})" if name in _FORMS else name for name in missing]
        raise InputError(
            f"{server} on {host or 'all addresses'} would answer anyone who reaches this machine; "
            f"set {' and '.join(named)} so that it asks for a password, or listen on 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host; names other than localhost are not looked up, and are not."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback


def _is_given(name: str, value: str) -> bool:
    if name not in _FORMS:
        return bool(value.strip())
    user, _, password = value.partition(":")
    return bool(user.strip() and password.strip())
