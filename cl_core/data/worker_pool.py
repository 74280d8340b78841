"""Cut a stream into batches, and map a function over them in several threads, in order, with few in flight."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cl_core import processes

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
        work: Called by several threads at once. What it does in C without the GIL, such as decoding, runs in parallel.
        batches: Taken in the caller's thread as needed, so that a stream of any length is never in memory as a whole.
        workers: Threads beside the caller's; 1 works in the caller's own, and 0 takes one for each CPU.
    """
    workers = workers or processes.cpu_count()
    if workers == 1:
        yield from ((batch, work(batch)) for batch in batches)
        return
    pending: deque[tuple[B, Future[R]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for batch in batches:
            pending.append((batch, pool.submit(work, batch)))
            if len(pending) >= _IN_FLIGHT_PER_WORKER * workers:
                done, future = pending.popleft()
                yield done, future.result()
        while pending:
            done, future = pending.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
