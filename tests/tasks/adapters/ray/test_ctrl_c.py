"""Ctrl-C during a training in this process: the first asks it to stop, the second stops it at once."""

import os
import signal

import pytest

from tasks.adapters.ray.ctrl_c import first_ctrl_c


def press_twice() -> None:
    with first_ctrl_c() as pressed:
        assert not pressed()
        os.kill(os.getpid(), signal.SIGINT)
        assert pressed()
        os.kill(os.getpid(), signal.SIGINT)


def test_the_first_ctrl_c_is_noted_the_second_interrupts_and_the_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert signal.getsignal(signal.SIGINT) is before
