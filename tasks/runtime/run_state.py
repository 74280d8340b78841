"""State of a flow run that decides what its next attempt does: values first seen, notifications sent.

Apart from the run log, whose failing write may be passed over: a failing write of this file raises.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

from cl_core import artifact_dir
from tasks.runtime.run_log import run_log
from tasks.runtime.settings import Settings

V = TypeVar("V")


class RunState:
    """The state file of one flow run."""

    def __init__(self, flow_run_id: str) -> None:
        self._path: Path = Settings.from_environment().runs / f"{flow_run_id}.state"
        self._flow_run_id = flow_run_id

    def first_seen(self, name: str, value: V) -> V:
        """Return the value under this name that was seen first; keep the given one when there was none."""
        state = self._read()
        if name not in state["first_seen"]:
            state["first_seen"][name] = value
            self._write(state)
        first: V = state["first_seen"][name]
        return first

    def is_notified(self, subject: str) -> bool:
        """Return whether people have received a message with this subject."""
        return subject in self._read()["notified"]

    def add_notified(self, subject: str) -> None:
        """Record that people have received a message with this subject."""
        state = self._read()
        self._write({**state, "notified": [*state["notified"], subject]})

    def _read(self) -> dict[str, Any]:
        if self._path.exists():
            state: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            return state
        # Version 0.1.0 kept both in the run log.
        lines = list(run_log(self._flow_run_id).lines())
        first: dict[str, Any] = {}
        for line in lines:
            if line["event"] == "found":
                first.setdefault(line["what"], line["value"])
        return {"first_seen": first, "notified": [line["what"] for line in lines if line["event"] == "told"]}

    def _write(self, state: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        artifact_dir.write_text(self._path, json.dumps(state) + "\n")
