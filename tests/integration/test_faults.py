"""What goes wrong at night: kills, Ctrl-C, wrong input, damaged files, servers that do not answer."""

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from clothes import CLOTHES
from machine import PATIENCE_S, wait
from permissions import obeying
from pictures import SAMPLE
from servers import free_port, give_tables
from working_folder import imported, own_project

from tasks.runtime.run_log import RunLog

from .conftest import CommandLine
from .golden import SPECS
from .test_steps import ask

# Two hundred steps, each with a checkpoint.
SHORT = {"data": SPECS["data"], "training": {**SPECS["training"], "epochs": 40}, "compute": SPECS["compute"]}


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def left_of(session: int) -> list[psutil.Process]:
    return [p for p in psutil.process_iter() if p.status() != psutil.STATUS_ZOMBIE and os.getsid(p.pid) == session]


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.sweep)])
def test_a_stopped_run_leaves_no_process_and_the_next_one_goes_on(cl: CommandLine, stop: signal.Signals) -> None:
    with cl.start("pretrain", recipe=SHORT, CL_FAILPOINTS="pretrain.step-taken:40=stop") as process:
        wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, process)
        assert len(cl.progress()) > 30
        process.send_signal(stop)
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == (-stop if stop == signal.SIGKILL else 130)
    assert not left_of(process.pid)
    if stop == signal.SIGTERM:
        assert err.strip().splitlines()[-1].startswith("error: interrupted; completed steps are kept")
    resumed = cl.run("pretrain", recipe=SHORT)
    assert resumed.code == 0, resumed.err
    assert "resumed at step" in resumed.err


@pytest.mark.parametrize("stop", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.sweep)])
def test_a_signal_to_the_whole_group_ends_a_command_and_its_own_server_in_seconds(
    cl: CommandLine, tmp_path: Path, stop: signal.Signals
) -> None:
    """As `timeout`, systemd and batch schedulers send it."""
    give_tables(cl.home / "prefect")
    long = {**SHORT, "training": {**SHORT["training"], "epochs": 20_000}}
    with CommandLine(cl.home, folder=own_project(tmp_path)).start("pretrain", recipe=long) as process:
        wait_for(lambda: len(cl.progress()) > 30, process)
        os.killpg(process.pid, stop)
        # Asking a server that has ended takes Prefect three minutes and more.
        _, err = process.communicate(timeout=60)
    if stop == signal.SIGTERM:
        assert process.returncode == 130, err
        assert err.strip().splitlines()[-1].startswith("error: interrupted; completed steps are kept")
        assert "Traceback" not in err
        with contextlib.closing(sqlite3.connect(cl.home / "prefect" / "prefect.db")) as database:
            assert database.execute("SELECT state_name FROM flow_run").fetchall() == [("Crashed",)]
    # A killed command cannot end its server; Linux does.
    wait(lambda: not left_of(process.pid), 30, lambda: str(left_of(process.pid)))
    # It was started in a folder that has modules of its own.
    assert imported(tmp_path) == ""


def test_ctrl_c_keeps_the_step_a_training_is_at_and_the_run_is_cancelled(cl: CommandLine) -> None:
    """Its steps since the last checkpoint were lost, and Prefect showed the run as crashed."""
    hourly = {**SHORT, "compute": {**SHORT["compute"], "checkpoint_every_s": 3600}}
    with cl.start("pretrain", recipe=hourly, CL_FAILPOINTS="pretrain.step-taken:40=stop") as process:
        wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1] == (
        "error: interrupted at step 40 of 200; its checkpoint is written and no step is lost, run the same command to "
        "resume"
    )
    assert "arning" not in err and "Traceback" not in err
    assert [path.name for path in cl.home.glob("trainings/*/checkpoints/*")] == ["step-00000040"]
    (log,) = (cl.home / "work" / "runs").glob("*.jsonl")
    run = RunLog(log).read()
    last = run.attempts[-1]
    assert (run.state, last.step, last.outcome) == ("Cancelled", "pretrain", "interrupted")
    (seen,) = ask(cl, "flow_runs/filter", {"flow_runs": {"id": {"any_": [run.id]}}})
    assert seen["state_name"] == "Cancelled"
    resumed = cl.run("pretrain", recipe=hourly)
    assert resumed.code == 0, resumed.err
    assert "resumed at step 40" in resumed.err


@pytest.mark.sweep
def test_ctrl_c_on_a_worker_group_keeps_its_step_and_leaves_nothing_even_of_a_hung_raylet(
    cl: CommandLine, tmp_path: Path
) -> None:
    hourly = pretraining(epochs=20) | {"compute": {**SPECS["compute"], "checkpoint_every_s": 3600}}
    two = ("--compute.workers", "2", "--compute.threads", "2")
    # With a Prefect server of its own, as on a laptop: a terminal sends Ctrl-C to that as well, and to all of Ray.
    with CommandLine(cl.home, folder=own_project(tmp_path)).start("pretrain", *two, recipe=hourly) as process:
        wait_for(lambda: len(cl.progress()) > 30, process)
        assert list(Path("/tmp").glob(f"cl-ray-{process.pid}-*"))
        # As on an overloaded machine: a shutdown would wait for it, and its workers outlive it.
        next(left for left in left_of(process.pid) if left.name() == "raylet").suspend()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    said = re.fullmatch(
        r"error: interrupted at step (\d+) of \d+; its checkpoint is written and no step is lost, run the same command "
        "to resume",
        err.strip().splitlines()[-1],
    )
    assert said is not None, err
    assert "Traceback" not in err
    assert [path.name for path in cl.home.glob("trainings/*/*/step-*")] == [f"step-{int(said[1]):08}"]
    assert not list(cl.home.glob("trainings/*/stop-*"))
    assert not left_of(process.pid)
    assert not list(Path("/tmp").glob(f"cl-ray-{process.pid}-*"))
    assert imported(tmp_path) == ""
    # One worker may finish what two began.
    resumed = cl.run("pretrain", recipe=hourly)
    assert resumed.code == 0, resumed.err
    assert f"resumed at step {said[1]}" in resumed.err


def test_a_folder_that_is_missing_or_empty(cl: CommandLine, tmp_path: Path) -> None:
    arguments = ("ingest", "--data.name", "made", "--data.source", "image_folder", "--data.location")
    missing = cl.run(*arguments, str(tmp_path / "nowhere"))
    assert missing.code == 2
    assert str(tmp_path / "nowhere") in missing.error
    (tmp_path / "empty").mkdir()
    empty = cl.run(*arguments, str(tmp_path / "empty"))
    assert empty.code == 2
    assert str(tmp_path / "empty") in empty.error
    assert not list((cl.home / "datasets").glob("*/*/manifest.json"))


def test_a_folder_that_may_not_be_read(cl: CommandLine, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    arguments = ("ingest", "--data.name", "closed", "--data.source", "image_folder", "--data.location", str(closed))
    finished = cl.run(*arguments, under=obeying())
    assert finished.code == 2
    assert finished.error == (
        f"error: data.location: the folder {closed} cannot be listed (Permission denied); "
        "make it readable, or move it away"
    )
    assert not list((cl.home / "datasets").glob("*/*/manifest.json"))


def test_a_home_that_may_not_be_written(cl: CommandLine, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for home in (closed, closed / "home"):
        finished = CommandLine(home, cl.prefect).run("models", under=obeying())
        assert finished.code == 2
        assert finished.err == (
            f"error: CL_HOME: cannot write in the folder {home} (Permission denied); make it writable, or set CL_HOME "
            "to another one\n"
        )


def test_a_batch_that_the_workers_cannot_share(cl: CommandLine) -> None:
    finished = cl.run("pretrain", "--training.batch-size", "101", "--compute.workers", "2", "--compute.threads", "2",
                      recipe=pretraining())  # fmt: skip
    assert finished.code == 2
    assert "training.batch_size: 101 is not divisible by 2 workers" in finished.error
    assert "100 or 102" in finished.error


def test_a_parquet_without_the_named_column_lists_those_it_has(cl: CommandLine) -> None:
    finished = cl.run(
        "ingest",
        "--data.name",
        "fashion",
        "--data.source",
        "parquet",
        "--data.location",
        str(SAMPLE),
        "--data.source-options.image_column",
        "pic",
    )
    assert finished.code == 2
    for word in ("pic", "image", "label", "split"):
        assert word in finished.error


def test_an_mlflow_that_does_not_answer_is_named(cl: CommandLine) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    finished = cl.run("models", MLFLOW_TRACKING_URI=address)
    assert finished.code == 1
    assert address in finished.error


def test_a_database_of_prefect_that_is_damaged_is_named_by_the_log_of_the_temporary_server(tmp_path: Path) -> None:
    cl = CommandLine(tmp_path / "home")
    (cl.home / "prefect").mkdir(parents=True)
    (cl.home / "prefect" / "prefect.db").write_text("no database")
    refused = cl.run("ingest", "--data.name", "made", "--data.source", "synthetic")
    log = cl.home / "prefect" / "temporary-server.log"
    assert refused.code == 1
    assert refused.error == (
        f"error: Prefect's temporary server exited with code 3; the end of {log} says why; correct that, and run the "
        "same command again"
    )
    assert "file is not a database" in log.read_text()
    assert (cl.home / "prefect" / "prefect.db").read_text() == "no database"


def test_a_snapshot_with_a_flipped_byte_is_read_anew(cl: CommandLine, tmp_path: Path) -> None:
    source = tmp_path / "source.parquet"
    shutil.copy(SAMPLE, source)
    arguments = ["ingest", "--data.name", "fashion", "--data.source", "parquet", "--data.location", str(source)]
    arguments += ["--data.source-options", '{"label_column": "label", "split_column": "split"}']
    first = cl.run(*arguments)
    assert first.code == 0, first.err
    part = Path(first.out.strip()) / "train" / "part-00000.parquet"
    rows = pq.read_metadata(part).num_rows
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    again = cl.run(*arguments)
    assert again.code == 0, again.err
    assert again.out == first.out
    assert part.read_bytes() != bytes(content)
    assert pq.read_metadata(part).num_rows == rows


def pretraining(*, epochs: int = 4) -> dict[str, object]:
    """Some seconds of training."""
    return {"data": CLOTHES["data"], "training": {**CLOTHES["training"], "epochs": epochs}, "compute": SPECS["compute"]}


def test_a_proxy_is_not_asked_for_servers_of_this_machine(cl: CommandLine) -> None:
    closed = f"http://127.0.0.1:{free_port()}"
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"), closed)
    finished = cl.run("ingest", recipe={"data": SPECS["data"]}, **proxies, MLFLOW_REGISTRY_URI=closed)
    assert finished.code == 0, finished.err
