"""Servers that other machines can reach are not started unless they ask who comes; test_postgresql.py has those."""

import subprocess
from pathlib import Path

import pytest
from machine import DECLARATION, Machine

from .conftest import AUTHENTICATION


@pytest.mark.parametrize("setting", AUTHENTICATION)
def test_without_authentication_it_is_refused_with_the_setting_named(
    address: str, setting: str, tmp_path: Path
) -> None:
    given = {name: value for name, value in AUTHENTICATION.items() if name != setting}
    machine = Machine(tmp_path / "home", DECLARATION, given, host=address)
    refused = subprocess.run(machine.command(), env=machine.environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert setting in refused.stderr and f"on {address} would answer every machine without a password" in refused.stderr
    assert machine.processes() == []
