"""A flow begins only where a Prefect records its runs; one that does not is a sentence."""

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from servers import answering, free_port

from cl_core.errors import CounterpointError, InfrastructureError, InputError
from flows.cli.environment import check_prefect_answers


def checked(address: str) -> None:
    with temporary_settings({PREFECT_API_URL: address, PREFECT_CLIENT_MAX_RETRIES: 0}):
        check_prefect_answers()


@pytest.mark.parametrize(
    ("status", "error", "sentence"),
    [(401, InputError, r"refuses access \(401\); set PREFECT_API_AUTH_STRING"), (502, InfrastructureError, "answer")],
)
def test_a_server_that_refuses_or_is_down_behind_its_proxy_is_named_without_an_account(
    monkeypatch: pytest.MonkeyPatch, status: int, error: type[CounterpointError], sentence: str
) -> None:
    with answering(status) as address:
        monkeypatch.setenv("PREFECT_API_URL", address.replace("http://", "http://anna:hunter2@") + "/api")
        with pytest.raises(error, match=rf"^the Prefect server at {address}/api .*{sentence}"):
            checked(f"{address}/api")


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/api", "nonsense"])
def test_an_address_without_a_server_is_named_with_its_setting(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    address = address.format(port=free_port())
    monkeypatch.setenv("PREFECT_API_URL", address)
    with pytest.raises(InfrastructureError, match=rf"at {address} does not answer; .* the setting PREFECT_API_URL"):
        checked(address)


def test_without_an_address_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    checked("nonsense")
