"""Files and variables of another project around a command: it uses its own servers and its own registry."""

import contextlib
import sqlite3
import time
from pathlib import Path

import pytest
from servers import give_tables

from .conftest import CommandLine
from .golden import SPECS

# Nobody serves it.
NOWHERE = "http://127.0.0.1:9"
THEIR_FILES = {
    ".env": f"PREFECT_API_URL={NOWHERE}/api\nPREFECT_SERVER_EPHEMERAL_ENABLED=false\n"
    "PREFECT_API_AUTH_STRING=anna:hunter2\nPREFECT_SERVER_API_AUTH_STRING=anna:hunter2\n"
    "PREFECT_PROFILES_PATH=theirs.toml\n# caf\xe9\n",
    "prefect.toml": f'[api]\nurl = "{NOWHERE}/api"\n[server.database]\nconnection_url = "sqlite:////theirs.db"\n',
    "pyproject.toml": '[tool]\nprefect = "x"\n',
    "theirs.toml": f'active = "theirs"\n[profiles.theirs]\nPREFECT_API_URL = "{NOWHERE}/api"\n',
}


@pytest.mark.sweep
def test_a_command_uses_its_own_prefect_whatever_the_working_folder_and_the_environment_name(
    cl: CommandLine, tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name, text in THEIR_FILES.items():
        (folder / name).write_text(text, encoding="latin-1")
    give_tables(cl.home / "prefect")
    ended = CommandLine(cl.home, folder=folder).run(
        "ingest",
        recipe={"data": SPECS["data"]},
        PREFECT_API_URL="",
        PREFECT_HOME=str(folder),
        PREFECT_PROFILE="theirs",
        PREFECT_PROFILES_PATH=str(folder / "theirs.toml"),
        PREFECT_SERVER_EPHEMERAL_ENABLED="false",
        PREFECT_SERVER_API_AUTH_STRING="anna:hunter2",
        PREFECT_API_AUTH_STRING="bob:secret",
        PREFECT_API_KEY="a-key-of-theirs",
    )
    assert ended.code == 0, ended.err
    assert Path(ended.out.strip()).is_relative_to(cl.home / "datasets")
    with contextlib.closing(sqlite3.connect(cl.home / "prefect" / "prefect.db")) as database:
        assert database.execute("SELECT state_name FROM flow_run").fetchall() == [("Completed",)]
    assert sorted(path.name for path in folder.iterdir()) == sorted(THEIR_FILES)


@pytest.mark.parametrize("registry", [NOWHERE, "sqlite:////nowhere/registry.db"])
def test_models_are_fetched_and_used_from_the_store_they_are_in(
    golden_cl: CommandLine, tmp_path: Path, registry: str
) -> None:
    """MLflow itself prefers MLFLOW_REGISTRY_URI: it asked there for half a minute, and the wrong store was blamed."""
    began = time.monotonic()
    fetched = golden_cl.run("fetch", "shapes@champion", str(tmp_path / "copy"), MLFLOW_REGISTRY_URI=registry)
    assert (fetched.code, fetched.out) == (0, f"{tmp_path / 'copy'}\n"), fetched.err
    data = ("--data.source", "synthetic", "--data.source-options.count", "20", "--data.source-options.size", "8")
    embedded = golden_cl.run(
        "embed", str(tmp_path / "rows.parquet"), "--model-name", "shapes", *data, MLFLOW_REGISTRY_URI=registry
    )
    assert embedded.code == 0, embedded.err
    assert time.monotonic() - began < 120


def test_a_prefect_that_does_not_answer_is_named_before_anything_is_read(cl: CommandLine) -> None:
    ended = CommandLine(cl.home).run("ingest", recipe={"data": SPECS["data"]}, PREFECT_API_URL=f"{NOWHERE}/api")
    assert (ended.code, ended.out) == (1, "")
    assert ended.error == (
        f"error: the Prefect server at {NOWHERE}/api does not answer; start it, or correct the setting PREFECT_API_URL "
        "(unset, it is that of `cl up` or a temporary one), and run the same command again"
    )
    assert not (cl.home / "datasets").exists()
