"""Whoever follows a training reads each line once, also after it resumed from a checkpoint."""

from pathlib import Path

from cl_core.training.progress import Progress, ProgressLog, following


def line(step: int, knn_accuracy: float | None = None) -> Progress:
    figures = dict.fromkeys(
        ("loss", "accuracy", "alignment", "intraclass_correlation", "uniformity", "feature_std", "effective_rank"), 1.0
    )
    times = dict.fromkeys(("epoch", "learning_rate", "images_per_s", "seconds", "seconds_left"), 1.0)
    return Progress.model_validate({"step": step, "steps": 9, "knn_accuracy": knn_accuracy, **figures, **times})


def seen(log: ProgressLog, *changes) -> list[tuple[int, float | None]]:
    """Steps and kNN accuracies that a follower is called with, when it looks once after the changes."""
    shown: list[Progress] = []
    with following(log, shown.append, every_s=600):
        for change in changes:
            change()
    return [(progress.step, progress.knn_accuracy) for progress in shown]


def test_what_was_read_before_is_not_read_again(tmp_path: Path) -> None:
    log = ProgressLog(tmp_path / "progress.jsonl")
    log.append(line(1, 0.25))
    read = log.path.stat().st_size

    def spoil() -> None:
        with log.path.open("r+b") as file:
            file.write(b"{" * (read - 1))

    assert seen(log, spoil, lambda: log.append(line(2))) == [(2, 0.25)]


def test_a_line_is_shown_once_it_is_whole(tmp_path: Path) -> None:
    log = ProgressLog(tmp_path / "progress.jsonl")
    text = line(1).model_dump_json()
    assert seen(log, lambda: log.path.write_text(text[:50])) == []
    with log.path.open("a") as file:
        assert seen(log, lambda: file.write(text[50:] + "\n"), file.flush) == [(1, None)]


def test_after_a_resume_the_earlier_line_is_shown_and_a_later_score_is_forgotten(tmp_path: Path) -> None:
    log = ProgressLog(tmp_path / "progress.jsonl")
    for progress in (line(1, 0.25), line(2), line(3, 0.75)):
        log.append(progress)
    assert seen(log, lambda: log.rewind(2, seconds=1.0)) == [(2, 0.25)]
    assert seen(log, lambda: log.rewind(2, seconds=1.0)) == [], "nothing was cut off this time"
