"""What Counterpoint uses of Prefect's and MLflow's servers beyond their documented interface.

tests/tasks/server/test_server_compat.py checks each part, so that an upgrade that breaks one is noticed.
"""

import time
from uuid import UUID

from prefect.server.events.ordering import memory
from prefect.server.events.schemas.events import Event

_STARTED_MS = time.time() * 1000


class CausalOrdering(memory.CausalOrdering):
    """Prefect's order of events, without the wait for events that a server handled before its restart.

    PREFECT_SERVER_EVENTS_CAUSAL_ORDERING names a module with a class of this name.

    A trigger handles an event only after the one that it follows, such as `Crashed` after `Running`. Which events were
    handled is kept in the server's memory. After a restart it would hold back a follower for 15 minutes, and an
    automation would then act on a run that is in another state by that time.
    https://github.com/PrefectHQ/prefect/blob/3.8.8/src/prefect/server/events/ordering/memory.py
    """

    async def event_has_been_seen(self, event: UUID | Event) -> bool:
        """Whether this server handled the event, or the event is older than this server's start."""
        event_id = event.id if isinstance(event, Event) else event
        return _created_ms(event_id) < _STARTED_MS or await super().event_has_been_seen(event_id)


def _created_ms(event_id: UUID) -> float:
    """Return when an event was created, in ms since 1970: the first 48 bits of a UUID of version 7 (RFC 9562, 5.7)."""
    return event_id.int >> 80 if event_id.version == 7 else float("inf")
