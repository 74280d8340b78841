"""Views that are made ahead, in a thread, while the encoder works on those before."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

I64 = NDArray[np.int64]
Views = tuple[Tensor, ...]


class _Made(NamedTuple):
    due: tuple[I64, int] | None  # The request; None after the last.
    views: Views
    done: Any  # The event after which they are there.


class ViewsAhead:
    """Give views in an order that is known; while some are used, a thread makes the next.

    A thread makes the views of one request and ends. None waits for the next one, so there is none to stop at the end
    of a training, and an interrupted one leaves none behind.

    Args:
        make: Makes the views of samples at some positions, in an epoch; twice the same for the same.
        requests: Positions and epoch of all that will be asked for, in order.
        device: Where the views are.
    """

    def __init__(self, make: Callable[[I64, int], Views], requests: Iterable[tuple[I64, int]], device: str) -> None:
        self._make, self._requests = make, iter(requests)
        self._device = torch.get_device_module(device)
        # Its own queue of a GPU's work: in the encoder's, a copy would wait for all steps that are queued there.
        self._stream = self._device.Stream()
        self._stream.wait_stream(self._device.current_stream())
        self._next = self._begin()

    def take(self, positions: I64, epoch: int) -> Views:
        """Return the views of the next request, which is this one, and begin with those after it.

        Raises:
            Exception: The error that making these views met.
        """
        due, views, done = self._next.result()
        assert due and due[1] == epoch and np.array_equal(due[0], positions), (
            "views are taken in the order of the requests"
        )
        self._next = self._begin()
        stream = self._device.current_stream()
        stream.wait_event(done)
        for view in views:
            if view.device.type != "cpu":  # Its memory is not free before the encoder has read it.
                view.record_stream(stream)
        return views

    def _begin(self) -> "Future[_Made]":
        """Make the views of the next request in a thread; without one, nothing."""
        future: Future[_Made] = Future()

        def run() -> None:
            try:
                with self._device.stream(self._stream):
                    due = next(self._requests, None)
                    views = self._make(*due) if due else ()
                    future.set_result(_Made(due, views, self._stream.record_event()))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, name="views-ahead").start()
        return future
