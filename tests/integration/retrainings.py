"""Retrainings in homes of their own, against a real Prefect server, in processes that can be killed."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import forked
import pytest
from chaos.audit import Audit, audit
from chaos.cases import RECIPE
from machine import PATIENCE_S
from servers import give_store

from . import retraining_programs as programs

NAME = "chaos"


@dataclass
class Retrainings:
    """Starts retrainings in processes forked from one that has imported everything."""

    prefect: str
    folder: Path
    reference: Audit | None = None
    made: int = field(default=0)

    def home(self) -> Path:
        """A new one, with an empty MLflow."""
        self.made += 1
        home = self.folder / str(self.made)
        give_store(home)
        return home

    def start(
        self,
        home: Path,
        failpoints: str = "",
        *,
        run: str = "run",
        model_name: str = NAME,
        **changes: dict[str, object],
    ) -> BaseProcess:
        """A process that works on a flow run of this home: on the same one as before, if it has the same name here.

        The changes are merged into the recipe's groups.
        """
        parameters = {"model_name": model_name} | {
            group: {**RECIPE[group], **changes.get(group, {})} for group in RECIPE
        }
        place = home.with_suffix(f".{run}")
        return self._start(programs.work_on, parameters, place, home=home, CL_FAILPOINTS=failpoints)

    def run(self, home: Path, failpoints: str = "", **changes: dict[str, object]) -> int:
        """The exit code of such a process."""
        return ended(self.start(home, failpoints, **changes))

    def doctor(self, home: Path, *, fix: bool = False) -> tuple[int, str]:
        """The exit code of `cl doctor`, and what it printed."""
        home.with_suffix(".log").write_text("")
        return ended(self._start(programs.doctor, fix, home=home)), log(home)

    def _start(self, main: Callable[..., None], *arguments: object, home: Path, **settings: str) -> BaseProcess:
        here = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        environment = {**here, "PREFECT_API_URL": self.prefect, "CL_HOME": str(home), **settings}
        printed = home.with_suffix(".log")
        return forked.start_program(main, *arguments, environment=environment, out=printed, err=printed)

    def undisturbed(self) -> Audit:
        """What a run comes to that nothing happens to."""
        if self.reference is None:
            home = self.home()
            assert self.run(home) == 0, log(home)
            self.reference = audited(home)
            assert self.reference.problems == []
        return self.reference


def audited(home: Path, weights: str = "", *, name: str = NAME) -> Audit:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CL_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return audit(name, weights=weights, checkpoint_every_s=0.001, longest_step_s=5)


def ended(process: BaseProcess) -> int:
    """Its exit code once it has ended, below 0 when a signal ended it."""
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def wait_for(condition: Callable[[], bool], home: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, log(home)
        time.sleep(0.05)


def log(home: Path) -> str:
    return home.with_suffix(".log").read_text()
