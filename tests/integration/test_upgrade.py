"""A home and an MLflow database written by release 0.1.0 (tests/upgrade/README.md) are opened, and go on."""

import hashlib
import json
import os
import re
import shutil
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import forked
import numpy as np
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from prefect import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.adapters.mlflow.connection import connected
from tasks.adapters.mlflow.model_version import SNAPSHOT_DIGEST, TRAINING_DIGEST

from .conftest import CommandLine, Finished, prefect_serving
from .retraining_programs import fetch_and_embed

ARCHIVE = Path(__file__).parents[1] / "upgrade" / "home-0.1.0.tar.xz"
# 0.1.0 stored absolute paths.
ROOT = Path("/tmp/counterpoint-0.1.0")
RECIPE = ROOT / "recipe.json"
KILLED = "b045a9d8-06b8-4320-aa38-020cdc813054"
# Another processor may round another way; on the one that wrote them, the embeddings have the same bits.
CLOSE = 1e-6


@pytest.fixture(scope="module")
def old() -> Iterator[CommandLine]:
    """The old home, at its place, and a Prefect server over its database."""
    with FileLock(f"{ROOT}.lock"):
        shutil.rmtree(ROOT, ignore_errors=True)
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(ROOT, filter="data")
        home = ROOT / "home"
        # The killed process was one of this machine.
        owner = home / "work" / "runs" / f"{KILLED}.json"
        owner.write_text(owner.read_text().replace('"process":"vm-', f'"process":"{socket.gethostname()}-'))
        try:
            with prefect_serving(home / "prefect") as address:
                yield CommandLine(home, address)
        finally:
            shutil.rmtree(ROOT, ignore_errors=True)


@pytest.fixture(scope="module")
def written(old: CommandLine) -> dict[str, np.ndarray]:
    """The embeddings that 0.1.0 wrote, by the id of the image."""
    return embeddings_in(ROOT / "embeddings.parquet")


def test_its_versions_and_its_champion_are_listed(old: CommandLine) -> None:
    listed = succeeded(old.run("models", "shapes", COLUMNS="200"))
    rows = dict(re.findall(r"│ +(\d+) +│ +([^│]*?) +│", listed.out))
    assert rows.keys() == {"1", "2"}
    assert [version for version, aliases in rows.items() if "champion" in aliases] == ["2"]


def test_its_champion_and_its_runs_are_explained(old: CommandLine) -> None:
    told = succeeded(old.run("explain", "shapes@champion"))
    digests = {name: tags_of(old, 2)[name] for name in (SNAPSHOT_DIGEST, TRAINING_DIGEST)}
    for digest in digests.values():
        assert digest[:12] in told.out
    first, second = runs_of(old)
    for run, ingested in ((first, "ran"), (second, "skipped")):
        told = succeeded(old.run("explain", run))
        assert run in told.out
        assert digests[SNAPSHOT_DIGEST][:12] in told.out
        steps = dict(re.findall(r"^(\w+) +(ran|skipped) .*?\S", told.out, re.MULTILINE))
        assert (steps["ingest"], steps["pretrain"], steps["register"]) == (ingested, "ran", "ran"), told.out
        reasons = re.findall(r"^(\w+) +(?:ran|skipped) +\S.*? s +(\S.*)$", told.out, re.MULTILINE)
        assert {step for step, _ in reasons} >= {"ingest", "pretrain", "register"}, told.out


def test_its_champion_is_fetched_and_gives_the_stored_embeddings(
    old: CommandLine, written: dict[str, np.ndarray], tmp_path: Path
) -> None:
    origins = pq.read_table(ROOT / "embeddings.parquet", columns=["id", "origin"]).to_pylist()
    for row in origins:
        assert hashlib.sha256((ROOT / "images" / row["origin"]).read_bytes()).hexdigest() == as_hex(row["id"])
    paths = [str(ROOT / "images" / row["origin"]) for row in origins]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{old.home}/mlflow.db"}
    fetched = tmp_path / "fetched.npy"
    with forked.Program(fetch_and_embed, "models:/shapes@champion", paths, fetched, environment=environment) as program:
        assert program.wait(120) == 0, program.communicate()
    for row, embedding in zip(origins, np.load(fetched), strict=True):
        assert np.abs(embedding - written[as_hex(row["id"])]).max() <= CLOSE


def test_its_images_are_embedded_as_before(old: CommandLine, written: dict[str, np.ndarray], tmp_path: Path) -> None:
    output = tmp_path / "again.parquet"
    source = ("--data.source", "image_folder", "--data.location", str(ROOT / "images"))
    succeeded(old.run("embed", str(output), "--model-name", "shapes", *source))
    again = embeddings_in(output)
    assert again.keys() == written.keys()
    assert max(np.abs(again[one] - written[one]).max() for one in written) <= CLOSE


def test_what_its_killed_run_left_is_named_and_cleared_away(old: CommandLine) -> None:
    owner = old.home / "work" / "runs" / f"{KILLED}.json"
    name = json.loads(owner.read_text())["flow_run_name"]
    found = old.run("doctor", COLUMNS="400")
    assert found.code == 1
    assert name in found.out and KILLED in found.out
    assert owner.exists() and state_of(old, KILLED) == "RUNNING", "asked for nothing, it changes nothing"
    old.run("doctor", "--fix", COLUMNS="400")
    assert not owner.exists()
    assert state_of(old, KILLED) == "CRASHED"
    assert KILLED not in old.run("doctor", COLUMNS="400").out


def test_its_champion_is_rolled_back(old: CommandLine) -> None:
    assert champion(old) == 2
    succeeded(old.run("rollback", "shapes"))
    assert champion(old) == 1


def test_pruning_keeps_what_its_versions_refer_to(old: CommandLine) -> None:
    before = stands(old.home)
    arguments = ("prune", "--keep-days", "0", "--keep-versions", "1")
    succeeded(old.run(*arguments, "--dry-run"))
    assert stands(old.home) == before
    succeeded(old.run(*arguments))
    after = stands(old.home)
    assert after <= before
    kept = {tags_of(old, version)[name] for version in (1, 2) for name in (SNAPSHOT_DIGEST, TRAINING_DIGEST)}
    assert kept <= {path.rpartition("/")[2] for path in after}
    assert versions(old) == {1, 2}
    succeeded(old.run("explain", "shapes/2"))


def test_retraining_trains_anew_once_and_then_nothing(old: CommandLine) -> None:
    trained = {path.name for path in (old.home / "trainings").iterdir()}
    other = old.run("retrain", "--recipe", str(RECIPE), "--data.name", "emoji")
    assert other.code == 2 and re.search(
        r"was trained on other data \(models:/shapes/1 on 'shapes', grayscale", other.err
    )
    first = succeeded(old.run("retrain", "--recipe", str(RECIPE)))
    assert versions(old) == {1, 2, 3}
    anew = {path.name for path in (old.home / "trainings").iterdir()} - trained
    assert anew == {tags_of(old, 3)[TRAINING_DIGEST]}
    # The data are the same, and so is what they are called.
    assert tags_of(old, 3)[SNAPSHOT_DIGEST] == tags_of(old, 1)[SNAPSHOT_DIGEST]
    before = files_of(old.home)
    again = succeeded(old.run("retrain", "--recipe", str(RECIPE)))
    assert versions(old) == {1, 2, 3}
    assert files_of(old.home) == before
    assert "models:/shapes/3" in first.out and "models:/shapes/3" in again.out


def succeeded(finished: Finished) -> Finished:
    assert finished.code == 0, finished.err + finished.out
    return finished


def as_hex(identity: object) -> str:
    return identity.hex() if isinstance(identity, bytes) else str(identity)


def embeddings_in(file: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(file, columns=["id", "embedding"]).to_pylist()
    return {as_hex(row["id"]): np.array(row["embedding"], np.float32) for row in table}


def runs_of(cl: CommandLine) -> tuple[str, str]:
    """The runs that made versions 1 and 2."""
    first, second = (tags_of(cl, version)["counterpoint.prefect_flow_run_id"] for version in (1, 2))
    return first, second


def tags_of(cl: CommandLine, version: int) -> dict[str, str]:
    with connected(f"sqlite:///{cl.home}/mlflow.db") as client:
        return dict(client.get_model_version("shapes", str(version)).tags)


def versions(cl: CommandLine) -> set[int]:
    with connected(f"sqlite:///{cl.home}/mlflow.db") as client:
        return {int(version.version) for version in client.search_model_versions("name = 'shapes'")}


def champion(cl: CommandLine) -> int:
    with connected(f"sqlite:///{cl.home}/mlflow.db") as client:
        return int(client.get_model_version_by_alias("shapes", "champion").version)


def state_of(cl: CommandLine, run: str) -> str:
    with temporary_settings({PREFECT_API_URL: cl.prefect}), get_client(sync_client=True) as client:
        return str(client.read_flow_run(UUID(run)).state_type.value)


def stands(home: Path) -> set[str]:
    """What retention may remove: a folder, or a file, of each result."""
    places = ("datasets/shapes/*", "trainings/*", "caches/*", "evaluations/*", "embeddings/*", "reports/shapes/*")
    return {str(path.relative_to(home)) for place in places for path in home.glob(place)}


def files_of(home: Path) -> set[str]:
    """Everything that the steps keep, with its time of change."""
    files = [path for result in stands(home) for path in [home / result, *(home / result).rglob("*")]]
    return {f"{path} {path.stat().st_mtime_ns}" for path in files if path.is_file() and path.name != "lock"}
