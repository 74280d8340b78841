"""Pauses come from the environment, and what is no pause is refused by name."""

import pytest

from cl_core.errors import InputError
from tasks.runtime import delays


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CL_RETRY_DELAY_S", raising=False)
    assert delays._seconds("CL_RETRY_DELAY_S", 5) == 5
    monkeypatch.setenv("CL_RETRY_DELAY_S", "")
    assert delays._seconds("CL_RETRY_DELAY_S", 5) == 5
    monkeypatch.setenv("CL_RETRY_DELAY_S", "0.25")
    assert delays._seconds("CL_RETRY_DELAY_S", 5) == 0.25


@pytest.mark.parametrize("wrong", ["soon", "-1", "nan", "inf"])
def test_what_is_no_pause_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("CL_RETRY_DELAY_S", wrong)
    with pytest.raises(InputError, match=f"CL_RETRY_DELAY_S must be a number of seconds, 0 or more, not '{wrong}'"):
        delays._seconds("CL_RETRY_DELAY_S", 5)
