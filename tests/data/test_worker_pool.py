import threading
import time

import pytest

from cl_core import processes
from cl_core.data.worker_pool import bounded_batches, map_batches


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_batches_however_long_each_takes(workers):
    def work(batch):
        time.sleep(0.002 * (batch[0] % 3))
        return sum(batch)

    batches = [[number, number + 1] for number in range(20)]
    assert list(map_batches(work, batches, workers)) == [(batch, sum(batch)) for batch in batches]


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_are_taken_as_they_are_needed_in_the_thread_of_the_caller(workers):
    taken, yielded = [], []

    def batches():
        for number in range(30):
            taken.append((number, threading.current_thread()))
            yield number

    for batch, _ in map_batches(lambda batch: batch, batches(), workers):
        yielded.append(batch)
        assert len(taken) - len(yielded) <= 2 * workers
    assert yielded == list(range(30))
    assert {thread for _, thread in taken} == {threading.current_thread()}


def test_zero_takes_a_thread_for_each_cpu(monkeypatch):
    monkeypatch.setattr(processes, "cpu_count", lambda: 4)
    together = threading.Barrier(4, timeout=20)
    assert len(list(map_batches(lambda batch: together.wait(), range(8), 0))) == 8


def test_work_is_done_by_as_many_threads_at_once():
    together = threading.Barrier(3, timeout=20)  # Fewer threads would wait for each other.
    assert len(list(map_batches(lambda batch: together.wait(), range(9), 3))) == 9


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_the_work_is_raised_and_no_thread_is_left(workers):
    def work(batch):
        if batch == 3:
            raise ValueError("three")
        return batch

    before = threading.active_count()
    with pytest.raises(ValueError, match="three"):
        list(map_batches(work, range(100), workers))
    assert threading.active_count() == before


def test_batches_are_bounded_by_rows_and_by_bytes():
    assert list(bounded_batches("abcdefg", rows=3)) == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
    assert list(bounded_batches([5, 1, 1, 9, 1], size=int, limit=6)) == [[5, 1], [1, 9], [1]]
    assert list(bounded_batches([])) == []
