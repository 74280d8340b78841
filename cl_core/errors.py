"""The errors that Counterpoint raises on purpose.

    CounterpointError
    ├── InputError (a ValueError)      a person has to fix it; never retried
    │   ├── SpecError                  a field of a spec: unknown name, out of range, contradiction
    │   ├── DataError                  the data: missing, empty, too few, leaking, corrupt at the source
    │   └── ForeignModelError          a registered model that takes nothing that a modality gives
    ├── IntegrityError                 bytes on disk differ from their checksum; never retried
    ├── TrainingError                  the optimization itself went wrong; never retried
    │   ├── NotFiniteLossError         the loss became NaN or infinite
    │   └── CollapseError              the loss is finite, and nothing is learned
    ├── TooManyAttemptsError           the process of a run died again and again; never retried
    └── InfrastructureError            a machine or a network did it; retried with backoff
        ├── StorageFullError           no space left (not retried: a disk does not empty itself in a minute)
        ├── StoreUnreachableError      MLflow does not answer
        └── WorkersLostError           training workers died more often than they may

Every message says what was wanted, what came, and what to do.
"""

from collections.abc import Mapping
from typing import ClassVar


class CounterpointError(Exception):
    """Base of all errors raised on purpose. `retriable` says whether trying again can help."""

    retriable: ClassVar[bool] = False


class InputError(CounterpointError, ValueError):
    """A person gave something wrong and has to change it."""


class SpecError(InputError):
    """A field of a spec is unknown, out of range or contradicts another; the message names its full path."""


class DataError(InputError):
    """The data cannot be read or cannot be trained on."""


class ForeignModelError(InputError):
    """A registered model takes nothing that a modality gives. `reason` has the fields of a `ComparisonReason`."""

    def __init__(self, message: str, reason: Mapping[str, str]) -> None:
        super().__init__(message)
        self.reason = reason


class IntegrityError(CounterpointError):
    """Bytes on disk differ from those that were written."""


class TrainingError(CounterpointError):
    """The optimization failed; the same spec would fail again."""


class NotFiniteLossError(TrainingError):
    """The loss became NaN or infinite."""


class CollapseError(TrainingError):
    """The training learns nothing: embeddings coincide or use few directions, or the loss rewards something else."""


class InfrastructureError(CounterpointError):
    """A machine or a network failed; the same call may succeed later."""

    retriable: ClassVar[bool] = True


class StorageFullError(InfrastructureError):
    """There is no space left for a write. No incomplete file remains."""

    retriable: ClassVar[bool] = False


class StoreUnreachableError(InfrastructureError):
    """A tracking server or registry does not answer."""


class WorkersLostError(InfrastructureError):
    """Training workers died, and were restarted, more often than allowed."""


class TooManyAttemptsError(CounterpointError):
    """The process of one flow run died so often that a person has to look."""
