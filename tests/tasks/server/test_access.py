"""No server can be reached from other machines without asking who is there."""

import pytest

from cl_core.errors import InputError
from tasks.runtime.settings import Settings
from tasks.server.access import check_bind, is_loopback

PREFECT = {"PREFECT_SERVER_API_AUTH_STRING": "ops:correct horse"}
MLFLOW = {"MLFLOW_AUTH_ADMIN_PASSWORD": "correct horse battery", "MLFLOW_FLASK_SERVER_SECRET_KEY": "staple"}
OUTSIDE = ["0.0.0.0", "::", "", "192.168.1.7", "10.0.0.1", "8.8.8.8", "gpu-box", "localhost.example.com", "127.0.0.1.x"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "LOCALHOST", "::1", "[::1]"])
@pytest.mark.parametrize("server", ["prefect", "mlflow"])
def test_loopback_needs_no_password(host, server):
    assert is_loopback(host)
    check_bind(host, Settings(), server=server)


@pytest.mark.parametrize("host", OUTSIDE)
@pytest.mark.parametrize(("server", "settings"), [("prefect", PREFECT), ("mlflow", MLFLOW)])
def test_elsewhere_each_setting_is_asked_for_by_name(host, server, settings):
    check_bind(host, Settings(**settings), server=server)
    for name in settings:
        for value in ("", " "):
            with pytest.raises(InputError, match=f"set {name}.*, or listen on 127.0.0.1"):
                check_bind(host, Settings(**{**settings, name: value}), server=server)


@pytest.mark.parametrize("value", ["ops", "ops:", ":secret", " : "])
def test_half_a_password_is_none_and_is_not_repeated(value):
    with pytest.raises(InputError, match=r"PREFECT_SERVER_API_AUTH_STRING \(as USER:PASSWORD\)") as refused:
        check_bind("0.0.0.0", Settings(PREFECT_SERVER_API_AUTH_STRING=value), server="prefect")
    assert "secret" not in str(refused.value)


def test_the_environment_of_the_process_has_the_settings(monkeypatch):
    for name in PREFECT:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError):
        check_bind("0.0.0.0", Settings(), server="prefect")
    for name, value in PREFECT.items():
        monkeypatch.setenv(name, value)
    check_bind("0.0.0.0", Settings(), server="prefect")
