"""Listen addresses of servers: loopback without a password, every other one only with authentication."""

import ipaddress
from typing import Literal

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
