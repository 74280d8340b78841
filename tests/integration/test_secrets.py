"""No secret of the environment is found in anything that a run leaves behind, or says."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from servers import free_port, give_store, serving

from cl_core.refs import ModelRef
from cl_core.specs import DataSpec, TrainingSpec
from tasks.adapters.mlflow.model_store import model_store
from tasks.runtime.settings import Settings

from .conftest import CommandLine, Finished
from .golden import NAMED

USER = "night-shift"
SECRETS = {
    "MLFLOW_TRACKING_PASSWORD": "mlflow-hunter2-8d1f",
    "PREFECT_API_AUTH_STRING": "prefect:hunter2-51c0",
    "CL_DATABASE_URL": "postgresql://counterpoint:hunter2-database-7be4@127.0.0.1/db",
    "AWS_SECRET_ACCESS_KEY": "hunter2/aws/9a3e",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "hunter2-flask-2f6c",
}
URI_PASSWORD = "uri-hunter2-c44d"
# Besides the secrets themselves: what goes with a request in their stead, and passwords within addresses.
TOLD = {
    **SECRETS,
    "basic authentication of MLflow": base64.b64encode(
        f"{USER}:{SECRETS['MLFLOW_TRACKING_PASSWORD']}".encode()
    ).decode(),
    "basic authentication of Prefect": base64.b64encode(SECRETS["PREFECT_API_AUTH_STRING"].encode()).decode(),
    "password of Prefect": "hunter2-51c0",
    "password of the database": "hunter2-database-7be4",
    "password in the address of MLflow": URI_PASSWORD,
    "what all have in common": "hunter2",
}


@pytest.fixture(scope="module")
def ran(
    shared_cl: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[CommandLine, Path, list[Finished]]]:
    """A retraining, a wrong one, and the lists, all with secrets around; MLflow's own folder beside."""
    store = tmp_path_factory.mktemp("mlflow")
    give_store(store)
    with serving(store) as (address, _):
        settings = {
            **SECRETS,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_URI": address.replace("//", f"//{USER}:{URI_PASSWORD}@"),
        }
        finished = [
            shared_cl.run("retrain", recipe=NAMED, **settings),
            shared_cl.run("retrain", "--training.learning-rate", "99", recipe=NAMED, **settings),
            shared_cl.run("models", **settings),
            shared_cl.run("promote", "shapes", "1", **settings),
            shared_cl.run("prune", "--dry-run", **settings),
        ]
        assert [each.code for each in finished[:1] + finished[2:]] == [0, 0, 0, 0], [each.err for each in finished]
        nobody = f"http://{USER}:{URI_PASSWORD}@127.0.0.1:{free_port()}"
        finished.append(shared_cl.run("models", **{**settings, "MLFLOW_TRACKING_URI": nobody}))
        finished.append(shared_cl.run("models", **{**settings, "MLFLOW_TRACKING_URI": f"nosql://a:{URI_PASSWORD}@b/c"}))
        finished.append(shared_cl.run("doctor", **{**settings, "MLFLOW_TRACKING_URI": nobody}))
        assert [each.code for each in finished[-3:-1]] == [1, 2]
        assert "MLflow" in finished[-1].out, finished[-1].err
        yield shared_cl, store, finished


def leaks(text: bytes) -> list[str]:
    return [name for name, secret in TOLD.items() if secret.encode() in text]


def found_below(folder: Path) -> dict[str, list[str]]:
    """Files with the secrets that they hold; of Parquet, what is packed is looked through as well."""
    found, seen = {}, 0
    for path in folder.rglob("*"):
        if path.is_file():
            seen += 1
            text = path.read_bytes()
            if path.suffix == ".parquet":
                text += str(pq.read_table(path).to_pydict()).encode()
            if names := leaks(text + os.fsencode(path.name)):
                found[str(path)] = names
    assert seen > 5, folder
    return found


def test_the_scan_finds_what_it_looks_for(tmp_path) -> None:
    for number in range(6):
        (tmp_path / f"{number}").write_bytes(b"")
    (tmp_path / "leak.json").write_text('{"password": "mlflow-hunter2-8d1f"}')
    assert found_below(tmp_path) == {
        str(tmp_path / "leak.json"): ["MLFLOW_TRACKING_PASSWORD", "what all have in common"]
    }


def test_nothing_under_cl_home_holds_a_secret(ran) -> None:
    assert found_below(ran[0].home) == {}


def test_nothing_that_mlflow_keeps_holds_a_secret(ran) -> None:
    """Its database and artifacts: parameters, tags, reports, the model itself."""
    assert (ran[1] / "mlflow.db").stat().st_size > 0
    assert found_below(ran[1]) == {}


def test_nothing_that_prefect_keeps_holds_a_secret(ran, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its database, with parameters, logs and artifacts, and its own log."""
    homes = {path.resolve().parent for path in tmp_path_factory.getbasetemp().glob("prefect*/prefect.db")}
    assert homes
    kept = [path.read_bytes() for home in homes for path in home.rglob("*") if path.is_file()]
    assert any(b"shapes" in each for each in kept), "the server of these runs is among them"
    assert leaks(b"".join(kept)) == []


def test_nothing_that_a_command_says_holds_a_secret(ran) -> None:
    for finished in ran[2]:
        assert leaks((finished.out + finished.err).encode()) == []


def test_the_report_and_the_last_lines_still_say_where_mlflow_is(ran) -> None:
    cl, _, finished = ran
    (page, *_) = (cl.home / "reports" / "shapes").glob("version-1-*.html")
    assert '<dd class="mono">http://127.0.0.1:' in page.read_text()
    assert "MLFLOW_TRACKING_URI=http://127.0.0.1:" in finished[0].out


def test_what_values_look_like_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{USER}:{URI_PASSWORD}@host:5000")
    ref = ModelRef(name="a", version=1, uri="models:/a/1", run_id="r", training_digest="t", created=True)
    for value in (
        Settings.from_environment(),
        model_store(),
        DataSpec(name="parts", source="image_folder"),
        TrainingSpec(),
        ref,
    ):
        assert leaks(f"{value!r} {value} {vars(value) if isinstance(value, Settings) else ''}".encode()) == []


def test_a_location_with_a_password_is_refused_and_not_repeated(cl: CommandLine) -> None:
    data = ("--data.name", "parts", "--data.source", "image_folder")
    finished = cl.run("ingest", *data, "--data.location", f"s3://key:{URI_PASSWORD}@bucket/images")
    assert finished.code == 2
    assert "data.location: an address with a password is refused" in finished.error
    assert leaks((finished.out + finished.err).encode()) == []
