"""Retrainings in homes of their own, against a real Prefect server, in processes that can be killed."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from e2e.conftest import prefect_server  # noqa: F401 - a fixture

from flows.chaos import RECIPE
from tasks.audit import Audit, audit

NAME = "chaos"


@dataclass
class Retrainings:
    """Starts retrainings in processes forked from one that has imported everything."""

    server: "subprocess.Popen[str]"
    folder: Path
    reference: Audit | None = None
    made: int = field(default=0)

    def ask(self, order: dict[str, object]) -> int:
        assert self.server.stdin is not None and self.server.stdout is not None
        print(json.dumps(order), file=self.server.stdin, flush=True)
        return int(json.loads(self.server.stdout.readline()))

    def home(self) -> Path:
        """A new one, with an empty MLflow: creating the tables takes seconds."""
        self.made += 1
        home = self.folder / str(self.made)
        home.mkdir()
        empty = self.folder / "empty"
        if not empty.exists():
            assert self.wait(self.ask({"start": {"CL_HOME": str(empty)}, "parameters": {}})) == 0, log(empty)
        shutil.copy(empty / "mlflow.db", home)
        return home

    def start(
        self,
        home: Path,
        failpoints: str = "",
        *,
        run: str = "run",
        model_name: str = NAME,
        **changes: dict[str, object],
    ) -> int:
        """A process that works on a flow run of this home: on the same one as before, if it has the same name here.

        The changes are merged into the recipe's groups.
        """
        parameters = {"model_name": model_name} | {
            group: {**RECIPE[group], **changes.get(group, {})} for group in RECIPE
        }
        settings = {"CL_HOME": str(home), "CL_FAILPOINTS": failpoints}
        return self.ask({"start": settings, "parameters": parameters, "run": str(home.with_suffix(f".{run}"))})

    def wait(self, process: int) -> int:
        """Its exit code, below 0 when a signal ended it."""
        return self.ask({"wait": process})

    def run(self, home: Path, failpoints: str = "", **changes: dict[str, object]) -> int:
        return self.wait(self.start(home, failpoints, **changes))

    def doctor(self, home: Path, *, mend: bool = False) -> tuple[int, str]:
        """The exit code of `cl doctor`, and what it printed."""
        home.with_suffix(".log").write_text("")
        return self.wait(self.ask({"start": {"CL_HOME": str(home)}, "doctor": mend})), log(home)

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


def wait_for(condition: Callable[[], bool], home: Path) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, log(home)
        time.sleep(0.05)


def log(home: Path) -> str:
    return home.with_suffix(".log").read_text()


@pytest.fixture(scope="session")
def retrainings(
    tmp_path_factory: pytest.TempPathFactory,
    prefect_server: str,  # noqa: F811
) -> Iterator[Retrainings]:
    folder = tmp_path_factory.mktemp("homes")
    environment = {**os.environ, "PREFECT_API_URL": prefect_server, "CL_HOME": str(folder / "nobody")}
    with ExitStack() as stack:
        server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fork_server.py"))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.enter_context(server)
        stack.callback(server.kill)
        yield Retrainings(server, folder)
