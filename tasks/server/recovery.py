"""Runs whose process is gone, closed and put back to work where Prefect's own automations cannot know of it.

Automations notice the silence of a process that has once told that it lives, and put back what is known to have
crashed. Nobody tells of a process that dies together with its worker while it starts, or with the whole machine; its
lease does. A work pool belongs to one `cl up`: what is under way there when it starts, with no process of this host or
another at work on it, is under way no more.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import AwaitingRetry, Cancelled, Crashed

from tasks.runtime import run_owner
from tasks.runtime.run_owner import RunOwner
from tasks.runtime.settings import read_delays

_LOOK_EVERY_S = read_delays().recovery_s
# Who asks also keeps the servers alive: while one is down he has no time to wait for it.
AT_ONCE = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: 5}
# A process needs seconds to start.
_PENDING_AT_MOST = timedelta(minutes=5)
# Automations put a run back 15 s after its crash; one that is late must not find it at work again.
_GRACE = timedelta(minutes=3)
# What crashed long ago is no longer waited for by anybody.
_LATELY = timedelta(days=1)


class RunRecovery:
    """Looks for such runs when the services have started, and now and then while they run.

    Args:
        work_pool: Whose runs these are.
    """

    def __init__(self, work_pool: str) -> None:
        self._work_pool = work_pool
        self._looked = 0.0
        self._suspects: set[tuple[str, str]] = set()
        self._failure = ""

    def begin(self) -> list[str]:
        """Close and put back what ended with the machine or with the services; before a worker runs.

        Returns:
            A sentence for each run, and for what could not be done.
        """
        return list(self._look(starting=True))

    def look(self) -> list[str]:
        """The same for what has ended meanwhile; nothing while the server is down, and mostly nothing at all."""
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return []
        return list(self._look(starting=False))

    def _look(self, *, starting: bool) -> Iterator[str]:
        self._looked = time.monotonic()
        try:
            with temporary_settings({} if starting else AT_ONCE), get_client(sync_client=True) as client:
                yield from self._close(client, starting=starting)
                yield from self._put_back(client)
            self._failure = ""
        except (httpx.HTTPError, OSError) as error:
            self._suspects = set()
            failure = _said_of(error)
            if (starting or not _passes(error)) and self._failure != failure:
                self._failure = failure
                yield f"runs whose process is gone could not be looked for: {failure}; `cl doctor` finds them too"

    def _close(self, client: SyncPrefectClient, *, starting: bool) -> Iterator[str]:
        gone = {}
        for run in _in_states(client, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING):
            lease = run_owner.owner_of(str(run.id))
            if self._is_gone(run, lease, starting=starting):
                gone[str(run.id), lease.process if lease else ""] = run, lease
        # A worker reports within seconds what has crashed beside it.
        certain = gone.keys() if starting else gone.keys() & self._suspects
        self._suspects = set(gone)
        for found in certain:
            run, lease = gone[found]
            if said := mark_ended(client, run, lease, by="`cl up`"):
                yield said
                if run.deployment_id and run.state_type != StateType.CANCELLING:
                    yield from _put_back(client, run)

    def _is_gone(self, run: FlowRun, lease: RunOwner | None, *, starting: bool) -> bool:
        ours = run.work_pool_name == self._work_pool
        if run.state_type == StateType.PENDING:
            # No process has begun; a lease is that of an attempt before.
            return ours and (starting or _age(run) > _PENDING_AT_MOST)
        return lease.is_stale if lease else ours and starting

    def _put_back(self, client: SyncPrefectClient) -> Iterator[str]:
        for run in _in_states(client, StateType.CRASHED):
            if run.work_pool_name == self._work_pool and _GRACE <= _age(run) <= _LATELY:
                yield from _put_back(client, run)


def mark_ended(client: SyncPrefectClient, run: FlowRun, lease: RunOwner | None, *, by: str) -> str:
    """Tell Prefect that the process of a run has ended: the run is crashed, or cancelled where that was wanted.

    Args:
        client: Of the server.
        run: As it was found.
        lease: As it was found.
        by: Who has found it, for people.

    Returns:
        A sentence that says so; empty when something has happened to the run since it was found.
    """
    process = f"its process {lease.process} has ended" if lease and lease.is_stale else "it has no process"
    state: State[Any] = (Cancelled if run.state_type == StateType.CANCELLING else Crashed)(
        message=f"{by} found that {process}."
    )
    try:
        now = client.read_flow_run(run.id)
        if (
            run.state is None
            or now.state is None
            or now.state.id != run.state.id
            or run_owner.owner_of(str(run.id)) != lease
        ):
            return ""
        client.set_flow_run_state(run.id, state, force=True)
    except ObjectNotFound:
        return ""
    run_owner.forget_owner(str(run.id))
    return f"run {run.name} is marked as {str(state.name).lower()}: {process}"


def _put_back(client: SyncPrefectClient, run: FlowRun) -> Iterator[str]:
    state: State[Any] = AwaitingRetry(message="Its process died; it goes on from the last good point.")
    try:
        answer = client.set_flow_run_state(run.id, state)
    except ObjectNotFound:
        return
    if answer.status == SetStateStatus.ACCEPT:
        yield f"run {run.name} was put back to work: its process had died"


def _said_of(error: Exception) -> str:
    """What went wrong, the same at every look: the address of a request is not."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"Prefect answers {error.response.status_code} {error.response.reason_phrase}"
    return f"{type(error).__name__} {error}".strip()


def _passes(error: Exception) -> bool:
    """Whether the server is down, or has too much to do; who keeps it alive asks again."""
    busy = isinstance(error, httpx.HTTPStatusError) and error.response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return busy or isinstance(error, httpx.TransportError)


def _in_states(client: SyncPrefectClient, *types: StateType) -> list[FlowRun]:
    wanted = FlowRunFilterStateType(any_=list(types))
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=wanted)))


def _age(run: FlowRun) -> timedelta:
    """How long it has been in its state."""
    return datetime.now(UTC) - run.state.timestamp if run.state else timedelta(0)
