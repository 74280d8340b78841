"""Progress of a training: a file of lines that others may follow while it grows, and the peak of its memory.

The file lies beside the checkpoints: the process that trains appends, the one that watches reads. That works the same
in one process, across a cluster with shared storage, and after a restart.
"""

import contextlib
import logging
import os
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from cl_core import artifact_dir

logger = logging.getLogger(__name__)

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # Linux, Documentation/filesystems/proc.rst: sets the peak to what is held now.


class Progress(BaseModel):
    """The numbers of a training after a step.

    Figures that only some methods have, such as the entropy of prototypes, are further fields.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, float] = Field(init=False)

    step: int = Field(description="Optimizer steps taken.")
    steps: int = Field(description="Optimizer steps in all.")
    epoch: float = Field(description="Passes over the data, with fraction.")
    loss: float = Field(description="Mean over the whole batch; nats for InfoNCE.")
    accuracy: float = Field(description="Share of rows whose most similar row of another view is a positive.")
    alignment: float = Field(
        description="Mean squared distance of positives, on unit embeddings; 0 when they coincide."
    )
    intraclass_correlation: float = Field(
        description="Share of the variance of unit embeddings that lies between samples, or classes where labels "
        "decide; 0 when positives are no nearer to each other than to all others."
    )
    uniformity: float = Field(description="Log of the mean Gaussian potential; 0 collapsed, about -4 spread out.")
    feature_std: float = Field(description="Of a coordinate of unit embeddings; 0 collapsed, 1 / sqrt(D) spread out.")
    effective_rank: float = Field(description="Directions that the embeddings really use; 1 collapsed, at most D.")
    knn_accuracy: float | None = Field(
        None, description="Share of held-out samples whose nearest neighbors predict their class; where just measured."
    )
    learning_rate: float
    images_per_s: float = Field(description="Samples of the training split per second, all workers together.")
    seconds: float = Field(description="Time spent training, over all attempts.")
    seconds_left: float = Field(description="Estimate at the present rate.")

    @property
    def headline(self) -> str:
        """The figures that show at a glance whether the training works."""
        neighbors = "" if self.knn_accuracy is None else f", neighbors {self.knn_accuracy:.2f}"
        return f"loss {self.loss:.3f}, accuracy {self.accuracy:.2f}, rank {self.effective_rank:.1f}{neighbors}"

    @property
    def figures(self) -> str:
        """All figures that show whether the training works."""
        numbers = {
            "alignment": self.alignment,
            "uniformity": self.uniformity,
            "feature std": self.feature_std,
            **(self.__pydantic_extra__ or {}),
        }
        return ", ".join([self.headline, *(f"{name.replace('_', ' ')} {value:.3g}" for name, value in numbers.items())])


class Repeated(BaseModel):
    """Training steps that were taken twice, because an attempt ended after its last checkpoint."""

    model_config = ConfigDict(frozen=True)

    from_step: int = Field(description="Step of the checkpoint that the next attempt resumed from.")
    reached_step: int = Field(description="Last step that the attempt before had logged.")
    seconds: float = Field(description="Time spent on the steps between.")

    @property
    def steps(self) -> int:
        """Optimizer steps that are taken again, at least."""
        return self.reached_step - self.from_step


class ProgressLog:
    """The file of progress lines at `path`, and one beside it of the steps that were repeated."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._repeated = path.with_name("repeated.jsonl")

    def append(self, progress: Progress) -> None:
        """Append a line."""
        _append(self.path, progress)

    def read(self) -> list[Progress]:
        """Return all whole lines so far; a line cut off by a crash is left out."""
        return [Progress.model_validate_json(line) for line in _whole_lines(self.path)]

    def rewind(self, step: int, *, seconds: float) -> None:
        """Remove what was logged after `step`, because the training resumes there, and record what is repeated.

        `seconds` is the time spent training up to the checkpoint of that step.
        """
        lines = self.read()
        remaining = [progress.model_dump_json() + "\n" for progress in lines if progress.step <= step]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if len(remaining) < len(lines):
            repeated_s = max(0, lines[-1].seconds - seconds)
            _append(self._repeated, Repeated(from_step=step, reached_step=lines[-1].step, seconds=repeated_s))
        artifact_dir.write_text(self.path, "".join(remaining))

    def repeated(self) -> list[Repeated]:
        """Return the repeats so far, one for each attempt that resumed before the step that another had reached."""
        return [Repeated.model_validate_json(line) for line in _whole_lines(self._repeated)]

    def clear(self) -> None:
        """Remove everything, so that the training starts again."""
        self.path.unlink(missing_ok=True)
        self._repeated.unlink(missing_ok=True)


def _append(path: Path, value: BaseModel) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(value.model_dump_json() + "\n")


def _whole_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [line for line in lines if line.startswith("{")]


def _newest_lines(path: Path) -> Iterator[Progress | None]:
    """Yield at each look the newest line since the last with the newest kNN accuracy; None without a new line."""
    inode = offset = 0
    score: float | None = None
    while True:
        whole = b""
        with contextlib.suppress(OSError), path.open("rb") as file:
            state = os.fstat(file.fileno())
            if state.st_ino != inode or state.st_size < offset:
                # The file was replaced, because the training resumed from a checkpoint.
                inode, offset, score = state.st_ino, 0, None
            file.seek(offset)
            whole = file.read().rpartition(b"\n")[0]
            offset += len(whole) + 1 if whole else 0
        lines = [Progress.model_validate_json(line) for line in whole.split(b"\n") if line.startswith(b"{")]
        for line in lines:  # Few lines have a kNN accuracy.
            score = score if line.knn_accuracy is None else line.knn_accuracy
        yield lines[-1].model_copy(update={"knn_accuracy": score}) if lines else None


@contextlib.contextmanager
def following(log: ProgressLog, on_progress: Callable[[Progress], None], *, every_s: float = 1.0) -> Iterator[None]:
    """Call back with the newest line of a log, if it is new, every `every_s` seconds while the body runs, and after it.

    The calls come from a thread of their own. One that fails is logged and never stops the training that it watches.
    """
    stop, looks = threading.Event(), _newest_lines(log.path)
    shown = next(looks, None)

    def look() -> None:
        nonlocal shown
        newest = next(looks, None)
        if newest is None or newest == shown:
            return
        shown = newest
        try:
            on_progress(newest)
        except Exception as error:
            logger.warning("cannot show the progress: %s", error)

    def watch() -> None:
        while not stop.wait(every_s):
            look()

    thread = threading.Thread(target=watch, name="follow-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()


def forget_peak() -> None:
    """Reset the peak; where the system does not allow it, it stays the peak of the whole process."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK, encoding="utf-8")


def peak_bytes() -> int:
    """Return the peak of resident memory since `forget_peak`, in bytes."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
