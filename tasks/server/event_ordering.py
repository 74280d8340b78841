"""Prefect's order of events, such that a server that was started again does not wait for what it saw before.

A trigger handles an event only after the one that it follows, such as `Crashed` after `Running`. Which events it has
handled a server keeps in memory; started again, it would hold back a follower for 15 minutes, and let an automation act
on it then, on a run that is somewhere else by that time. Named by PREFECT_SERVER_EVENTS_CAUSAL_ORDERING.
"""

import time
from uuid import UUID

from prefect.server.events.ordering import memory
from prefect.server.events.schemas.events import Event

_STARTED_MS = time.time() * 1000


class CausalOrdering(memory.CausalOrdering):
    """Takes events from before this server's start for seen."""

    async def event_has_been_seen(self, event: UUID | Event) -> bool:
        """Whether the event was handled by this server, or came before it."""
        event_id = event.id if isinstance(event, Event) else event
        return _made_ms(event_id) < _STARTED_MS or await super().event_has_been_seen(event_id)


def _made_ms(event_id: UUID) -> float:
    """When an event was made, by its name, in ms since 1970 (RFC 9562, 5.7); of other kinds of names: never."""
    return event_id.int >> 80 if event_id.version == 7 else float("inf")
