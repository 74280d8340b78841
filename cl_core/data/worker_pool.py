"""Cut a stream into batches, and map a function over them in several processes, in order, with few in flight."""

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

from cl_core.errors import InfrastructureError

B = TypeVar("B")
R = TypeVar("R")
T = TypeVar("T")

_IN_FLIGHT_PER_WORKER = 2


def bounded_batches(
    items: Iterable[T], *, rows: float = math.inf, size: Callable[[T], int] = lambda item: 0, limit: float = math.inf
) -> Iterator[list[T]]:
    """Yield items in lists, each ended by the item with which it has `rows` items, or `limit` bytes of `size` each."""
    batch: list[T] = []
    held = 0
    for item in items:
        batch.append(item)
        held += size(item)
        if len(batch) >= rows or held >= limit:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def map_batches(work: Callable[[B], R], batches: Iterable[B], workers: int) -> Iterator[tuple[B, R]]:
    """Yield each batch with the result of `work`, in the order of the batches.

    Args:
        work: A function at the top level of a module; batches and results travel between processes.
        batches: Taken as needed, so that a stream of any length is never in memory as a whole.
        workers: Processes; 1 runs in this one.

    Raises:
        InfrastructureError: When a worker process is killed.
    """
    if workers == 1:
        yield from ((batch, work(batch)) for batch in batches)
        return
    pending: deque[tuple[B, Future[R]]] = deque()
    # Spawned, not forked: the parent may have threads (Arrow's, torch's), and a fork copies their locks as they are.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent)
    try:
        for batch in batches:
            pending.append((batch, pool.submit(work, batch)))
            if len(pending) >= _IN_FLIGHT_PER_WORKER * workers:
                done, future = pending.popleft()
                yield done, future.result()
        while pending:
            done, future = pending.popleft()
            yield done, future.result()
    except BrokenProcessPool as error:
        raise InfrastructureError(
            f"one of {workers} ingestion workers was killed, probably for lack of memory; "
            "run again with fewer (compute.ingest_workers)"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Exit a worker when its parent is killed; it would wait for the next batch forever."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
