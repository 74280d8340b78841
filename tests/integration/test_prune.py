"""`cl prune` on a home with several versions, orphaned files of a failed run and a training that is running."""

import re
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from filelock import FileLock
from servers import ANSWERED_S

from tasks.adapters.mlflow.connection import connected

from .conftest import CommandLine, Finished
from .golden import SPECS, on_data
from .test_retrain import ask


@pytest.fixture(scope="module")
def three(golden_cl: CommandLine) -> CommandLine:
    """Three versions on three snapshots, the second one champion, and the first one before it."""
    forget_runs(golden_cl)
    return golden_cl


def forget_runs(cl: CommandLine) -> None:
    """Delete all runs in Prefect: other tests' killed ones, on the same server, would count as running."""
    deadline = time.monotonic() + 60
    while runs := ask(cl, "flow_runs/filter", {}):
        for run in runs:
            request = urllib.request.Request(f"{cl.prefect}/flow_runs/{run['id']}", method="DELETE")
            try:
                urllib.request.urlopen(request, timeout=ANSWERED_S).close()
            except urllib.error.HTTPError as error:
                # While it still writes what a run has logged, SQLite is locked.
                if error.code not in (404, 503) or time.monotonic() > deadline:
                    raise


def stands(home: Path) -> dict[str, set[str]]:
    folders = {"datasets": "shapes/*", "trainings": "*", "caches": "*", "evaluations": "*", "reports": "shapes/*"}
    return {folder: {path.name for path in (home / folder).glob(what)} for folder, what in folders.items()}


def sizes(finished: Finished) -> tuple[str, str]:
    """How many artifacts go, and how large they are together."""
    said = " ".join(finished.out.split())
    found = re.search(r" (\d+) of \d+ artifacts (?:would be )?removed, ([\d.]+ \w+) of", f" {said}")
    assert found is not None, said
    return found[1], found[2]


def test_while_nothing_is_old_nothing_goes(three: CommandLine) -> None:
    before = stands(three.home)
    finished = three.run("prune", "--keep-versions", "1")
    assert finished.code == 0, finished.err
    assert sizes(finished) == ("0", "0 B")
    assert stands(three.home) == before


@pytest.fixture(scope="module")
def larger(three: CommandLine) -> Finished:
    """A fourth version, for larger images than those before."""
    recipe = on_data(3)
    larger = {**recipe, "data": {**recipe["data"], "image_size": 12}}
    finished = three.run("retrain", "--allow-new-data", recipe=larger)
    assert finished.code == 0, finished.err
    return finished


def test_a_champion_that_takes_smaller_images_is_compared_on_the_same_samples(larger: Finished) -> None:
    said = " ".join(larger.err.split())
    assert "models:/shapes/2, the champion, takes grayscale images of 8 x 8 pixels; it will be evaluated on" in said
    assert "test samples, as the grayscale images of 8 x 8 pixels that it takes" in said
    assert "registered as models:/shapes/4" in said and "version 4 is " in said


@pytest.fixture(scope="module")
def pruned(three: CommandLine, larger: Finished) -> tuple[dict[str, set[str]], Finished, Finished, CommandLine]:
    """A fourth version, and a retraining that was killed; then only the newest is kept, first on paper."""
    # Now 1 is for a rollback, 2 the champion, 3 nobody's, 4 the challenger.
    before = stands(three.home)
    arguments = ("prune", "--keep-versions", "1", "--keep-days", "0")
    dry = three.run(*arguments, "--dry-run")
    assert dry.code == 0, dry.err
    assert stands(three.home) == before
    real = three.run(*arguments)
    assert real.code == 0, real.err
    return before, dry, real, three


def test_a_dry_run_lists_what_the_real_one_removes(pruned) -> None:
    before, dry, real, cl = pruned
    assert sizes(dry) == sizes(real)
    assert "would be freed" in dry.out and "would be" not in real.out
    after = stands(cl.home)
    assert len(before["trainings"]) - len(after["trainings"]) == 1
    assert len(before["caches"]) - len(after["caches"]) == 1
    assert {name for name in before["datasets"] - after["datasets"] if len(name) == 64} != set()
    rows = [line for line in dry.out.splitlines() if re.search(r"│ (training|snapshot|cache|report) ", line)]
    assert {row.split("│")[1].strip() for row in rows} == {"training", "snapshot", "cache", "report"}


def test_a_version_that_loses_its_data_is_named_in_the_list_and_marked_in_mlflow(pruned) -> None:
    _, dry, real, cl = pruned
    for finished in (dry, real):
        said = " ".join(finished.out.split())
        assert "lineage of shapes version 3: its checkpoint" in said
        assert "cannot be resumed or re-evaluated on its own data" in said
    with connected(f"sqlite:///{cl.home}/mlflow.db") as client:
        tags = {number: client.get_model_version("shapes", number).tags for number in "1234"}
    assert [number for number in tags if "counterpoint.lineage" in tags[number]] == ["3"]


def test_the_list_is_an_artifact_in_prefect(pruned) -> None:
    *_, cl = pruned
    found = ask(cl, "artifacts/filter", {"artifacts": {"key": {"any_": ["prune"]}}, "sort": "CREATED_DESC"})
    assert found[0]["type"] == "markdown"
    assert "| kind | what | size | last used | why |" in found[0]["data"]


def test_what_is_kept_is_reused_by_the_next_retraining_and_a_rollback(pruned) -> None:
    *_, cl = pruned
    again = cl.run("retrain", recipe=on_data(1))
    assert again.code == 0, again.err
    for sentence in (
        "is up to date (source unchanged)",
        "is up to date (data, spec and code unchanged); skipped",
        "is up to date (checkpoint, snapshot, protocols and code unchanged); skipped",
        "version 2 is the champion already",
    ):
        assert sentence in again.err
    assert "version 1 is the champion again" in cl.run("rollback", "shapes").err
    assert cl.run("promote", "shapes", "2").code == 0


def test_a_version_whose_inputs_were_pruned_is_made_again_from_its_source(pruned) -> None:
    """Nothing lets a later run trip over what was removed: the source is read, and the same digests come again."""
    before, _, _, cl = pruned
    again = cl.run("retrain", recipe=on_data(2))
    assert again.code == 0, again.err
    assert "new snapshot " in again.err
    assert "models:/shapes/3 is up to date" in again.err
    assert stands(cl.home)["trainings"] == before["trainings"]


def test_what_a_running_training_uses_stays_and_what_a_dead_one_left_goes(cl: CommandLine) -> None:
    forget_runs(cl)
    long = {name: SPECS[name] for name in ("data", "training", "compute")}
    long = {**long, "training": {**long["training"], "epochs": 100_000}}
    with cl.start("pretrain", recipe=long) as process:
        deadline = time.monotonic() + 120
        while len(cl.progress()) < 5:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
            time.sleep(0.05)
        # At work all the same; but it takes no core from what is tested.
        process.send_signal(signal.SIGSTOP)
        before = stands(cl.home)
        running = cl.run("prune", "--keep-versions", "1", "--keep-days", "0")
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert running.code == 0, running.err
    assert sizes(running) == ("0", "0 B")
    assert "because flow run" in " ".join(running.out.split())
    assert stands(cl.home) == before
    # A killed run cannot say that it has ended: that is told to Prefect, as the command asks for.
    forget_runs(cl)
    after = cl.run("prune", "--keep-days", "0")
    assert after.code == 0, after.err
    assert "of a failed run, without a result" in " ".join(after.out.split())
    assert stands(cl.home)["trainings"] == set()


def test_a_number_out_of_range_is_refused_by_name(cl: CommandLine) -> None:
    finished = cl.run("prune", "--keep-days", "-1")
    assert finished.code == 2
    assert finished.error == "error: keep_days: input should be greater than or equal to 0; got '-1'"


def test_while_servers_run_for_the_home_they_must_be_the_ones_that_are_asked(tmp_path: Path) -> None:
    """Another Prefect would know nothing of the runs that are at work, and all that they use would go."""
    lock = tmp_path / "home" / "work" / "up.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        finished = CommandLine(tmp_path / "home").run("prune", "--dry-run")
    assert finished.code == 2
    assert "`cl up` is starting for this CL_HOME, and its runs cannot be read yet" in finished.error
