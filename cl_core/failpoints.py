"""Failpoints: named places at which a process can be told to die, stop, or find the disk full.

`CL_FAILPOINTS=register.run-created=kill,pretrain.step-taken:7=stop` names places and what happens there; `:7` is the
seventh time that a process comes by. Each place acts once, whichever process comes first, so that the run that is put
back to work passes. Without the variable a failpoint is one look into the environment.

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

from cl_core.errors import InputError

_VARIABLE = "CL_FAILPOINTS"
_FIRED = "CL_FAILPOINTS_FIRED"

ACTIONS = ("kill", "stop", "full", "error")

POINTS: dict[str, str] = {
    "ingest.begun": "a private folder stands, nothing has been read",
    "ingest.inputs-checked": "a batch of inputs has been decoded and put by",
    "ingest.inputs-sorted": "all inputs have been read and stand sorted on the disk",
    "ingest.snapshot-staged": "the snapshot's files stand, without their checksums",
    "ingest.snapshot-sealed": "the checksums stand, the snapshot is not in its place",
    "ingest.snapshot-renamed": "the snapshot is in its place, not recorded",
    "ingest.record-staged": "the record of what was ingested is written aside",
    "ingest.recorded": "the record stands, the step has not returned",
    "cache.split-written": "one split of the images at training size is written",
    "cache.staged": "the cache's files stand, without their checksums",
    "cache.sealed": "the cache's checksums stand, it is not in its place",
    "cache.renamed": "the cache is in its place",
    "validate.checked": "the data have been accepted, the step has not returned",
    "plan.made": "the job is made, the step has not returned",
    "pretrain.locked": "the training is this process's own, nothing has been looked at",
    "pretrain.restored": "weights are made or loaded, no step has been taken",
    "pretrain.step-taken": "the weights have moved, nothing has been told or kept",
    "pretrain.step-told": "the step is in the log of progress, no checkpoint is written",
    "pretrain.checkpoint-half-written": "the checkpoint's weights are written, the optimiser's state is not",
    "pretrain.checkpoint-staged": "the checkpoint's files stand, without their checksums",
    "pretrain.checkpoint-sealed": "the checkpoint's checksums stand, it is not in its place",
    "pretrain.checkpoint-renamed": "the checkpoint is in its place, older ones are not removed",
    "pretrain.checkpoint-kept": "the checkpoint is in its place, older ones are gone",
    "pretrain.finished": "the last step's checkpoint stands, the result file does not",
    "pretrain.result-staged": "the result file is written aside",
    "pretrain.result-written": "the result file stands, the step has not returned",
    "evaluate.features-computed": "a representation's features are in memory only",
    "evaluate.features-staged": "the features' files stand, without their checksums",
    "evaluate.features-sealed": "the features' checksums stand, they are not in their place",
    "evaluate.features-renamed": "the features are in their place, nothing is measured on them",
    "evaluate.assessment-staged": "scores and predictions stand, without their checksums",
    "evaluate.assessment-sealed": "the checksums of the scores stand, they are not in their place",
    "evaluate.assessment-renamed": "one representation's scores are in their place",
    "register.locked": "the model is this process's own to change, MLflow has not been asked",
    "register.experiment-found": "the experiment stands, there is no run",
    "register.run-created": "the run stands, empty but for its tags",
    "register.parameters-logged": "the run has its parameters",
    "register.curves-logged": "the run has the training's curves",
    "register.dataset-logged": "the run names its dataset",
    "register.scores-logged": "the run has the scores",
    "register.files-uploaded": "the run has its files",
    "register.described": "the run has its description",
    "register.model-created": "the logged model is announced, without files",
    "register.model-saved": "the program is exported to this machine's disk",
    "register.model-uploaded": "the program is uploaded, the logged model is not final",
    "register.model-finalised": "the logged model is final, the run does not name it",
    "register.model-linked": "the run names its model",
    "register.run-ended": "the run has ended, there is no version",
    "register.name-registered": "the registered model stands, without this version",
    "register.version-created": "the version stands, no alias is moved",
    "register.challenger-set": "the version is the challenger, the step has not returned",
    "promote.judged": "the gate has spoken, nothing is written",
    "promote.intention-written": "the intention stands, nothing is carried out",
    "promote.files-logged": "the decision is in the run's files, not in the version's tag",
    "promote.reason-tagged": "the decision is in the version's tag",
    "promote.alias-set": "users fetch the new champion, the intention is not struck off",
    "promote.struck-off": "the intention is struck off, the step has not returned",
    "report.rendered": "the page is in memory only",
    "report.page-logged": "the page is in MLflow, not in its file",
    "report.file-staged": "the page's file is written aside",
    "report.file-written": "the page's file stands, the step has not returned",
}
"""Every failpoint, in the order in which a retraining comes by, and what is true there."""

_passed: Counter[str] = Counter()


class _Order(NamedTuple):
    """What happens at a place, and at which time that a process comes by."""

    action: str
    occurrence: int


def reach(name: str) -> None:
    """Do what the environment says about this place; mostly nothing.

    Raises:
        OSError: ENOSPC, where the order is `full`.
        ConnectionError: Where the order is `error`.
        InputError: When the environment names a place or an action that there is not.
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
    """What `CL_FAILPOINTS` says, by place.

    Raises:
        InputError: When a place or an action does not exist, or the form is another.
    """
    found = {}
    for part in text.split(","):
        place, _, action = part.strip().partition("=")
        name, _, occurrence = place.partition(":")
        if name not in POINTS or action not in ACTIONS or not (occurrence or "1").isdecimal():
            raise InputError(
                f"{_VARIABLE}: wanted NAME=ACTION or NAME:NTH=ACTION, separated by commas, with an action of "
                f"{', '.join(ACTIONS)}; got {part!r}; `cl chaos --list` shows the names"
            )
        found[name] = _Order(action, int(occurrence or 1))
    return found


def fired_folder() -> Path:
    """Where it is remembered which places have acted: CL_FAILPOINTS_FIRED, or a folder under CL_HOME."""
    given = os.environ.get(_FIRED)
    return Path(given) if given else Path(os.environ.get("CL_HOME", ".counterpoint")) / "work" / "failpoints"


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
