"""Recovery: closes and reschedules runs whose process is gone, where Prefect's own automations cannot know of it.

Automations notice a process whose heartbeats stop, and reschedule runs that are marked as crashed. No event reports a
process that dies together with its worker while it starts, or with the whole machine; the run's recorded owner does.

A work pool belongs to one `cl up`. A run that Prefect reports as active in the pool, without a living process, is not
active any more. One that died before it recorded its owner is known by that: no process has its id in its environment.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import AwaitingRetry, Cancelled, Crashed

from tasks.runtime import run_owner
from tasks.runtime.run_owner import RunOwner
from tasks.runtime.settings import Settings

RESCHEDULED = "The process died; the run is rescheduled and resumes from its last checkpoint."
"""Message of the state of a run that is rescheduled, by an automation or from here."""

# The caller also restarts the servers: it must not wait for one that is down.
NO_RETRIES = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: 5}
# A process needs seconds to start.
_MAX_PENDING = timedelta(minutes=5)
# Automations reschedule a run 15 s after its crash; a late one must not find it running again.
_GRACE = timedelta(minutes=3)
# Older crashes are left to a person.
_MAX_CRASH_AGE = timedelta(days=1)


class RunRecovery:
    """Finds and reschedules such runs of a work pool: once when the servers have started, then periodically."""

    def __init__(self, work_pool: str) -> None:
        self._work_pool, self._look_every_s = work_pool, Settings.from_environment().look_every_s
        self._checked, self._failure = 0.0, ""
        self._suspects: set[tuple[str, str]] = set()

    def recover_at_start(self) -> list[str]:
        """Close and reschedule the runs that ended with the machine or with the services; before a worker starts.

        Returns:
            A sentence for each run, and for each failure.
        """
        return list(self._recover(starting=True))

    def recover(self) -> list[str]:
        """Close and reschedule the runs whose process has exited since; do nothing while the server is down."""
        if time.monotonic() - self._checked < self._look_every_s:
            return []
        return list(self._recover(starting=False))

    def _recover(self, *, starting: bool) -> Iterator[str]:
        self._checked = time.monotonic()
        try:
            with temporary_settings({} if starting else NO_RETRIES), get_client(sync_client=True) as client:
                yield from self._close(client, starting=starting)
                yield from self._reschedule_crashed(client)
            self._failure = ""
        except (httpx.HTTPError, OSError) as error:
            self._suspects = set()
            failure = _failure_text(error)
            if (starting or not _is_temporary(error)) and self._failure != failure:
                self._failure = failure
                yield f"cannot look for runs whose process has exited: {failure}; `cl doctor` finds them too"

    def _close(self, client: SyncPrefectClient, *, starting: bool) -> Iterator[str]:
        suspects: dict[tuple[str, str], tuple[FlowRun, RunOwner | None]] = {}
        for run in _in_states(client, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING):
            owner = run_owner.owner_of(str(run.id))
            if self._is_gone(run, owner, starting=starting):
                suspects[str(run.id), owner.process if owner else ""] = run, owner
        # A worker reports a crash of its own runs within seconds.
        confirmed = suspects.keys() if starting else suspects.keys() & self._suspects
        self._suspects = set(suspects)
        for suspect in confirmed:
            run, owner = suspects[suspect]
            if message := mark_ended(client, run, owner, by="`cl up`"):
                yield message
                if run.deployment_id and run.state_type != StateType.CANCELLING:
                    yield from _reschedule(client, run)

    def _is_gone(self, run: FlowRun, owner: RunOwner | None, *, starting: bool) -> bool:
        ours = run.work_pool_name == self._work_pool
        if run.state_type == StateType.PENDING:
            # No process has started; a recorded owner is that of an earlier attempt.
            return ours and (starting or _age(run) > _MAX_PENDING)
        return owner.is_stale if owner else ours and not run_owner.has_process(str(run.id))

    def _reschedule_crashed(self, client: SyncPrefectClient) -> Iterator[str]:
        for run in _in_states(client, StateType.CRASHED):
            if run.work_pool_name == self._work_pool and _GRACE <= _age(run) <= _MAX_CRASH_AGE:
                yield from _reschedule(client, run)


def mark_ended(client: SyncPrefectClient, run: FlowRun, owner: RunOwner | None, *, by: str) -> str:
    """Mark a run whose process has exited as crashed, or as cancelled if it was being cancelled.

    Returns:
        A sentence about it; empty when the run or its owner has changed since they were read.
    """
    process = f"process {owner.process} has exited" if owner and owner.is_stale else "it has no process"
    state: State[Any] = (Cancelled if run.state_type == StateType.CANCELLING else Crashed)(message=f"{by}: {process}.")
    try:
        current = client.read_flow_run(run.id)
        if (
            run.state is None
            or current.state is None
            or current.state.id != run.state.id
            or run_owner.owner_of(str(run.id)) != owner
        ):
            return ""
        client.set_flow_run_state(run.id, state, force=True)
    except ObjectNotFound:
        return ""
    run_owner.forget_owner(str(run.id))
    return f"run {run.name} is marked as {str(state.name).lower()}: {process}"


def _reschedule(client: SyncPrefectClient, run: FlowRun) -> Iterator[str]:
    state: State[Any] = AwaitingRetry(message=RESCHEDULED)
    try:
        answer = client.set_flow_run_state(run.id, state)
    except ObjectNotFound:
        return
    if answer.status == SetStateStatus.ACCEPT:
        yield f"run {run.name} is rescheduled: its process had exited"


def _failure_text(error: Exception) -> str:
    """Return the failure without the address of the request, so that the same failure has the same text."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"Prefect answers {error.response.status_code} {error.response.reason_phrase}"
    return f"{type(error).__name__} {error}".strip()


def _is_temporary(error: Exception) -> bool:
    """Whether the server is down or overloaded, so that the next check may succeed."""
    busy = isinstance(error, httpx.HTTPStatusError) and error.response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return busy or isinstance(error, httpx.TransportError)


def _in_states(client: SyncPrefectClient, *types: StateType) -> list[FlowRun]:
    return client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": types}}}))


def _age(run: FlowRun) -> timedelta:
    """Return how long the run has been in its state."""
    return datetime.now(UTC) - run.state.timestamp if run.state else timedelta(0)
