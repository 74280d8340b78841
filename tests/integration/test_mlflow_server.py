"""A real MLflow server: what it serves, that it is named when it dies, and how long one that is down is waited for."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from registering import NAME, evaluation, gains, registration
from servers import free_port, give_store, serving

from cl_core.errors import StoreUnreachableError
from cl_core.specs import PromotionSpec
from tasks.adapters.mlflow.connection import connected, redacted_uri
from tasks.adapters.mlflow.model_store import ModelStore


def ask_while_dying(address: str, end: Callable[[], None]) -> None:
    with connected(address) as client:
        end()
        client.get_registered_model(NAME)


def test_a_server_serves_registration_champion_and_model_and_is_named_when_it_dies(tmp_path: Path) -> None:
    home = tmp_path
    give_store(home)
    with serving(home) as (address, end):
        store = ModelStore(address, None, home / "work")
        ref = store.register(registration())
        assert ref.created and not store.register(registration()).created
        assert store.decide(NAME, 1, PromotionSpec(), evaluation(), gains()).promoted
        module = registration().build_model()
        assert (store.load(store.champion(NAME))(*module.example(3)) - module(*module.example(3))).abs().max() <= 1e-6
        assert ModelStore(address.replace("//", "//somebody:secret@"), None, home / "work").names() == [NAME]
        assert any((home / "served").rglob("model.pt2"))
        started = time.monotonic()
        with pytest.raises(StoreUnreachableError, match=f"MLflow at {address} does not answer"):
            ask_while_dying(address, end)
        assert time.monotonic() - started < 20


def test_a_server_that_is_down_is_named_with_the_remedy_within_20_s(tmp_path: Path) -> None:
    address = f"http://somebody:secret@127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(StoreUnreachableError, match="MLFLOW_TRACKING_URI") as caught:
        ModelStore(address, None, tmp_path / "work").register(registration())
    assert 6 < time.monotonic() - started < 20
    assert f"MLflow at {redacted_uri(address)} does not answer" in str(caught.value)
    assert "secret" not in str(caught.value)
