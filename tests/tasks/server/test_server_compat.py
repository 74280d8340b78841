"""What is used of Prefect's private parts is still there: an upgrade that breaks one fails here first."""

import asyncio
import importlib
import inspect
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.events import Event
from prefect.server.events import ordering
from prefect.settings.models.server.concurrency import ServerConcurrencySettings
from prefect.settings.models.server.events import ServerEventsSettings

from tasks.server.compat import CausalOrdering
from tasks.server.services import LocalStack


def event_id(moment: datetime) -> UUID:
    """A UUID of version 7, by RFC 9562: 48 bits of time, the version, the variant."""
    return UUID(int=int(1000 * moment.timestamp()) << 80 | 7 << 76 | 2 << 62)


def seen(event: UUID) -> bool:
    async def ask() -> bool:
        return await CausalOrdering(scope="test").event_has_been_seen(event)

    return asyncio.run(ask())


def test_events_from_before_the_servers_start_count_as_seen_and_later_ones_do_not() -> None:
    now = datetime.now(UTC)
    assert seen(event_id(now - timedelta(hours=1)))
    assert not seen(event_id(now + timedelta(hours=1)))
    assert not seen(UUID(int=4 << 76 | 2 << 62)), "an id without a time"


def test_prefect_gives_events_ids_that_begin_with_their_time() -> None:
    event = Event(event="test", resource={"prefect.resource.id": "test"})
    made = datetime.fromtimestamp((event.id.int >> 80) / 1000, UTC)
    assert event.id.version == 7 and abs(made - datetime.now(UTC)) < timedelta(minutes=1)


def test_prefect_asks_the_ordering_that_a_setting_names() -> None:
    assert "causal_ordering" in ServerEventsSettings.model_fields
    assert "event_has_been_seen" in inspect.getsource(importlib.import_module("prefect.server.events.ordering.memory"))
    assert list(inspect.signature(ordering.CausalOrdering.event_has_been_seen).parameters) == ["self", "event"]


def test_the_modules_that_the_servers_settings_name_exist() -> None:
    assert "lease_storage" in ServerConcurrencySettings.model_fields
    source = inspect.getsource(LocalStack)
    for module, name in {
        "tasks.server.compat": "CausalOrdering",
        "prefect.server.concurrency.lease_storage.filesystem": "ConcurrencyLeaseStorage",
    }.items():
        assert f'"{module}"' in source
        assert hasattr(importlib.import_module(module), name)
