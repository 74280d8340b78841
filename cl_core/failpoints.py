"""Failpoints: named places where a test kills, stops or fails the process. In production nothing happens there."""

from collections.abc import Callable

_hooks: list[Callable[[str], None]] = []


def failpoint(name: str) -> None:
    """Mark a place, `step.what-is-true-there`, between two writes, where a crash must lose nothing."""
    for hook in _hooks:
        hook(name)


def install(hook: Callable[[str], None]) -> None:
    """Call `hook` with the name of every failpoint that this process reaches; for tests."""
    if hook not in _hooks:
        _hooks.append(hook)
