"""Ctrl-C during a training: the first asks it to stop, the second stops it at once."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.adapters.ray.ctrl_c import StopFiles, first_ctrl_c


@pytest.fixture(autouse=True)
def _as_in_the_foreground() -> Iterator[None]:
    """Tests that a shell started in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


def test_where_ctrl_c_is_ignored_it_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with first_ctrl_c() as pressed:
        os.kill(os.getpid(), signal.SIGINT)
        assert not pressed()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_group_is_asked_to_stop_and_answers_by_files_of_which_none_is_left(tmp_path: Path) -> None:
    (tmp_path / "stop-request").touch()  # Of a run that was killed.
    driver, worker = StopFiles(tmp_path), StopFiles(tmp_path)
    with driver.none_left():
        assert not worker.is_requested()
        driver.request()
        driver.request()
        assert worker.is_requested()
        assert driver.answered() is None
        worker.answer("interrupted at step 3")
        assert driver.answered() == "interrupted at step 3"
    assert list(tmp_path.iterdir()) == []
