"""What the fault sweep does at failpoints: die, stop, find the disk full, or lose the connection.

`CL_FAILPOINTS=register.run-created=kill,pretrain.step-taken:7=stop` names places and what happens there; `:7` is the
seventh time that a process reaches the place. Each place acts once, whichever process comes first, so that the run
passes when it is rescheduled.

    kill    SIGKILL of the process itself
    stop    SIGSTOP of the process itself
    full    OSError, no space left on the device
    error   ConnectionError, as of a network
"""

import errno
import os
import signal
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cl_core import failpoints
from cl_core.errors import InputError

_VARIABLE = "CL_FAILPOINTS"
_FIRED = "CL_FAILPOINTS_FIRED"

ACTIONS = ("kill", "stop", "full", "error")

POINTS: dict[str, str] = {
    "ingest.begun": "the staging folder exists, no input is read",
    "ingest.inputs-checked": "a batch of inputs is decoded and buffered",
    "ingest.inputs-sorted": "all inputs are read and sorted on disk",
    "ingest.recorded": "the ingestion is recorded, the step has not returned",
    "cache.split-written": "one split of the training cache is written",
    "validate.checked": "the data is accepted, the step has not returned",
    "plan.made": "the job is complete, the step has not returned",
    "pretrain.locked": "this process holds the training's lock",
    "pretrain.restored": "weights are initialized or loaded, no step is taken",
    "pretrain.step-taken": "the weights are updated, nothing is logged or saved",
    "pretrain.step-logged": "the step is in the progress log, no checkpoint is written",
    "pretrain.checkpoint-half-written": "the checkpoint has weights and no optimizer state",
    "pretrain.checkpoint-kept": "the checkpoint is published, older ones are deleted",
    "pretrain.finished": "the last checkpoint is published, the result file is missing",
    "pretrain.result-written": "the result file is written, the step has not returned",
    "evaluate.features-computed": "features of a representation are written aside only",
    "register.locked": "this process holds the model's lock, MLflow is not asked yet",
    "register.experiment-found": "the experiment exists, the run does not",
    "register.run-created": "the run exists with its tags only",
    "register.parameters-logged": "the run has its parameters",
    "register.curves-logged": "the run has the training curves",
    "register.dataset-logged": "the run names its dataset",
    "register.scores-logged": "the run has the scores",
    "register.files-uploaded": "the run has its files",
    "register.described": "the run has its description",
    "register.model-created": "the logged model is created, without files",
    "register.model-saved": "the program is exported to the local disk",
    "register.model-uploaded": "the program is uploaded, the logged model is not finalized",
    "register.model-finalized": "the logged model is finalized, the run does not name it",
    "register.model-linked": "the run names its model",
    "register.run-ended": "the run has ended, there is no version",
    "register.name-registered": "the registered model exists, this version does not",
    "register.version-created": "the version exists, no alias is moved",
    "register.challenger-set": "the version is the challenger, the step has not returned",
    "promote.judged": "the gate has decided, nothing is written",
    "promote.intent-written": "the intent is pending, nothing is applied",
    "promote.files-logged": "the decision is in the run's files, not in the version's tag",
    "promote.reason-tagged": "the decision is in the version's tag",
    "promote.alias-set": "users fetch the new champion, the intent is not committed",
    "promote.intent-committed": "the intent is committed, the step has not returned",
    "report.rendered": "the page is in memory only",
    "report.page-logged": "the page is in MLflow, not in its file",
    "report.file-written": "the page's file is written, the step has not returned",
    "artifact_dir.staged": "an artifact's files are written, without checksums",
    "artifact_dir.sealed": "an artifact has its checksums and is not renamed",
    "artifact_dir.renamed": "an artifact is in its place, the caller has not returned",
    "artifact_dir.text-staged": "a new text file is written aside and has not replaced the old one",
}
"""Every failpoint, in the order in which a retraining reaches it, and what is true there."""

_passed: Counter[str] = Counter()


class _Order(NamedTuple):
    """What happens at a place, and at which of a process's visits."""

    action: str
    occurrence: int


def install_hook() -> None:
    """Let this process obey `CL_FAILPOINTS`."""
    failpoints.install(obey)


def obey(name: str) -> None:
    """Do what the environment asks for at this place, if anything.

    Raises:
        OSError: ENOSPC, where the order is `full`.
        ConnectionError: Where the order is `error`.
        InputError: When the environment names an unknown place or action.
    """
    assert name in POINTS, name
    text = os.environ.get(_VARIABLE)
    if not text:
        return
    order = orders(text).get(name)
    if order is None:
        return
    _passed[name] += 1
    if _passed[name] == order.occurrence and _is_first(name):
        _act(name, order.action)


@lru_cache
def orders(text: str) -> dict[str, _Order]:
    """Parse the value of `CL_FAILPOINTS`, by place.

    Raises:
        InputError: When a place, an action or the form is unknown.
    """
    found = {}
    for part in text.split(","):
        place, _, action = part.strip().partition("=")
        name, _, occurrence = place.partition(":")
        if name not in POINTS or action not in ACTIONS or not (occurrence or "1").isdecimal():
            raise InputError(
                f"{_VARIABLE}: wanted NAME=ACTION or NAME:NTH=ACTION, separated by commas, with an action of "
                f"{', '.join(ACTIONS)}; got {part!r}; `make chaos ARGS=--list` shows the names"
            )
        found[name] = _Order(action, int(occurrence or 1))
    return found


def fired_folder() -> Path:
    """Return the folder of places that have acted: CL_FAILPOINTS_FIRED, or one under CL_HOME."""
    folder = os.environ.get(_FIRED)
    return Path(folder) if folder else Path(os.environ.get("CL_HOME", ".counterpoint")) / "work" / "failpoints"


def _is_first(name: str) -> bool:
    folder = fired_folder()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _act(name: str, action: str) -> None:
    if action == "full":
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} (failpoint {name})")
    if action == "error":
        raise ConnectionError(f"connection lost (failpoint {name})")
    os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
