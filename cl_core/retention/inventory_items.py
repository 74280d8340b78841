"""The artifacts under CL_HOME and what refers to them, as values: the inputs of retention."""

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from cl_core.refs import Ref

Kind = Literal["snapshot", "cache", "training", "features", "evaluation", "report", "initial weights", "orphan"]


class VersionInputs(Ref):
    """A registered version, and why its inputs are kept."""

    name: str  # Of the registered model.
    version: int  # Its number.
    training: str  # Digest of the training that made it; empty for a version of other origin.
    snapshot: str  # Digest of the snapshot that it was trained on; empty for a version of other origin.
    held_by: list[str]  # Why its inputs are kept at any age: aliases, a possible rollback.

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


class OldestRun(Ref):
    """The flow run that has been running for the longest time."""

    id: str
    name: str
    since: datetime


class InventoryItem(Ref):
    """An artifact under CL_HOME that can be removed by itself."""

    kind: Kind
    path: Path
    size_bytes: int
    last_used: datetime = Field(description="When it was last written, or verified by a run.")
    snapshot: str = Field("", description="Digest of the snapshot that it is, or was made from; empty: unknown.")
    training: str = Field("", description="Digest of the training that it is, or was made by; empty: none.")
    finished: bool = Field(
        True, description="Whether a training has a result; whether the process that made an orphan has ended."
    )
    busy: bool = Field(False, description="Whether a running process holds its lock, or writes to it.")
    model: str = Field("", description="Of a report: the registered model.")
    version: int = Field(0, description="Of a report: the version.")
