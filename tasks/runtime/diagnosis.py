"""What is wrong with what is kept and with what runs, and how it is mended."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is not as it should be.

    Args:
        what: Is wrong, in words.
        where: A path, an address, a process.
        remedy: What a person does, or what `mend` does.
        mend: Does it; None where only a person can decide.
    """

    what: str
    where: str
    remedy: str
    mend: Callable[[], None] | None = None
