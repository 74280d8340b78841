"""Registering and promoting, killed before each of their writes to MLflow and tried again."""

import shutil
import signal
from collections import Counter

import pytest
import torch
from registering import NAME, STEPS, copy_home, decide, register, registration, rollback, start, store_at

from tasks.adapters.mlflow.connection import connected

pytestmark = pytest.mark.integration


def killed(act, *arguments, before_write):
    """Whether the process was killed; not when it makes fewer writes."""
    process = start(act, *arguments, killed_before_write=before_write)
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def assert_registered_once(home):
    store = store_at(home)
    [row] = store.versions(NAME)
    assert (row.version, row.aliases) == (1, ["challenger"])
    with connected(store.tracking_uri) as client:
        [experiment] = client.search_experiments(filter_string=f"name = '{NAME}'")
        [run] = client.search_runs([experiment.experiment_id])
        assert run.info.run_id == row.run_id and run.info.status == "FINISHED"
        assert run.data.tags["counterpoint.training_digest"] == row.training_digest == "1" * 64
        for key in run.data.metrics:
            points = Counter(point.step for point in client.get_metric_history(run.info.run_id, key))
            assert points == Counter(STEPS if key.startswith("training/") else [50])
        assert len(run.inputs.dataset_inputs) == 1
        [model] = client.search_logged_models([experiment.experiment_id])
        assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    module = registration().build_model()
    (images,) = module.example(3)
    torch.testing.assert_close(store.load(store.register(registration()))(images), module(images), atol=1e-6, rtol=0)
    assert not list((home / "work").glob(".staging*"))


@pytest.mark.parametrize("write", [1, 8, 14])
def test_registration_killed_before_some_write_and_retried_registers_once(home, write):
    """A sample of the sweep's."""
    assert killed(register, home, before_write=write)
    register(home)
    assert_registered_once(home)


@pytest.mark.sweep
def test_registration_killed_before_any_write_and_retried_registers_once(empty_home, tmp_path):
    for write in range(1, 100):
        home = tmp_path / str(write)
        home.mkdir()
        shutil.copy(empty_home / "mlflow.db", home)
        if not killed(register, home, before_write=write):
            break
        register(home)
        assert_registered_once(home)
    assert write > 14


def test_two_processes_that_race_register_once(home):
    racers = [start(register, home) for _ in range(2)]
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert_registered_once(home)


@pytest.fixture(scope="module")
def crowned(full_home, tmp_path_factory):
    """A database with three versions, of which 1 and then 2 became champion."""
    home = tmp_path_factory.mktemp("crowned")
    copy_home(full_home, home)
    for version in (1, 2):
        store_at(home).promote(NAME, version, "wanted")
    return home


CHANGES = pytest.mark.parametrize(("act", "arguments", "champion"), [(decide, (3, 2), 3), (rollback, (), 1)])


def assert_mended_by_the_next(home, act, arguments, champion):
    store = store_at(home)
    act(home, *arguments)
    assert store.champion(NAME).version == champion
    assert all(row.reason for row in store.versions(NAME) if row.version == champion)


@CHANGES
@pytest.mark.parametrize("write", [2, 5])
def test_a_change_of_champion_killed_before_some_write_is_completed_by_the_next(
    crowned, home, act, arguments, champion, write
):
    """A sample of the sweep's."""
    shutil.copy(crowned / "mlflow.db", home)
    assert killed(act, home, *arguments, before_write=write)
    assert store_at(home).champion(NAME).version in (2, champion)
    assert_mended_by_the_next(home, act, arguments, champion)


@CHANGES
@pytest.mark.sweep
def test_a_change_of_champion_killed_before_any_write_leaves_a_champion_and_is_completed_by_the_next(
    crowned, tmp_path, act, arguments, champion
):
    for write in range(1, 100):
        home = tmp_path / str(write)
        home.mkdir()
        shutil.copy(crowned / "mlflow.db", home)
        died = killed(act, home, *arguments, before_write=write)
        assert store_at(home).champion(NAME).version in (2, champion)
        if not died:
            break
        assert_mended_by_the_next(home, act, arguments, champion)
    assert write > 5
