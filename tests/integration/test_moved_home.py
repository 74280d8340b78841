"""A home that was moved is refused by every command; once `cl doctor --fix` has rewritten it, all goes on there."""

import os
from pathlib import Path

import forked
import numpy as np
import pytest
from PIL import Image

from .conftest import CommandLine, Finished
from .golden import NAME, on_data
from .retraining_programs import fetch_and_embed

SYNTHETIC = ("--data.source", "synthetic", "--data.source-options", '{"count": 8, "size": 8}')


@pytest.fixture(scope="module")
def old(golden_cl: CommandLine) -> Path:
    return golden_cl.home


@pytest.fixture(scope="module")
def moved(golden_cl: CommandLine, old: Path) -> CommandLine:
    return CommandLine(old.rename(old.with_name("new [place] & more")), golden_cl.prefect)


def succeeded(finished: Finished) -> str:
    assert finished.code == 0, finished.err + finished.out
    return finished.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("models",),
        ("retrain", "--allow-new-data"),
        ("embed", "e.parquet", "--model-name", NAME, *SYNTHETIC),
        ("atlas", "e.parquet"),
    ],
)
def test_every_command_says_that_the_home_has_moved_and_touches_nothing(
    moved: CommandLine, old: Path, arguments: tuple[str, ...]
) -> None:
    finished = moved.run(*arguments, recipe=on_data(3) if arguments[0] == "retrain" else None)
    assert finished.code == 2
    assert finished.error == (
        f"error: CL_HOME has moved: MLflow's artifacts are recorded under {old}/mlflow-artifacts, and CL_HOME is "
        f"{moved.home}; stop `cl up` if it runs, and rewrite their locations with `cl doctor --fix`, or move the "
        "folder back"
    )
    assert not old.exists()


def test_down_stops_what_runs_and_says_so_too(moved: CommandLine) -> None:
    finished = moved.run("down")
    assert finished.code == 0 and "warning: CL_HOME has moved" in finished.err


def test_the_doctor_names_it_and_rewrites_it(moved: CommandLine, old: Path) -> None:
    found = moved.run("doctor", COLUMNS="500")
    assert (found.code, "CL_HOME has moved" in found.out) == (1, True), found.out
    succeeded(moved.run("doctor", "--fix"))
    assert "CL_HOME has moved" not in succeeded(moved.run("doctor"))
    assert [path.name for path in (moved.home / "backups").glob("*/mlflow.db")] == ["mlflow.db"]


def test_then_an_unchanged_training_is_skipped(moved: CommandLine) -> None:
    def trained() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in moved.home.glob("trainings/*/checkpoint.json")}

    before = trained()
    assert f"models:/{NAME}/3" in succeeded(moved.run("retrain", recipe=on_data(2)))
    assert trained() == before


def test_then_versions_are_listed_explained_copied_and_embedded_with(moved: CommandLine, tmp_path: Path) -> None:
    assert "champion" in succeeded(moved.run("models", NAME))
    assert "shapes" in succeeded(moved.run("explain", f"{NAME}@champion"))
    succeeded(moved.run("fetch", f"{NAME}@champion", str(tmp_path / "copy")))
    assert (tmp_path / "copy" / "MLmodel").exists()
    succeeded(moved.run("embed", str(tmp_path / "e.parquet"), "--model-name", NAME, *SYNTHETIC))


def test_then_mlflow_alone_loads_the_champion(moved: CommandLine, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "black.png")
    images, output = [str(tmp_path / "black.png")] * 2, tmp_path / "embeddings.npy"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{moved.home}/mlflow.db"}
    with forked.Program(
        fetch_and_embed, f"models:/{NAME}@champion", images, output, environment=environment
    ) as program:
        assert program.wait(120) == 0, program.communicate()
    assert np.linalg.norm(np.load(output), axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_then_the_champion_is_rolled_back_and_nothing_was_made_at_the_old_place(moved: CommandLine, old: Path) -> None:
    succeeded(moved.run("rollback", NAME))
    succeeded(moved.run("prune", "--dry-run"))
    assert not old.exists()
