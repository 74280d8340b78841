"""What is used of MLflow's private parts is still there: an upgrade that breaks one fails here first."""

import contextlib
import inspect
import os
import subprocess
import sys

import pytest

from tasks.adapters.mlflow.compat import (
    DATASET_SOURCE,
    LOCATIONS,
    import_pytorch_flavor,
    installed_requirements,
    process_tracking_uri,
)


@pytest.mark.sweep
def test_the_torch_flavor_comes_without_lightning_which_stays_there_for_others():
    program = (
        "import sys; from tasks.adapters.mlflow.compat import import_pytorch_flavor\n"
        "import_pytorch_flavor(); import_pytorch_flavor(); assert 'pytorch_lightning' not in sys.modules\n"
        "import mlflow.pytorch._lightning_autolog; assert 'pytorch_lightning' in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_mlflow_still_imports_lightning_by_the_name_that_is_hidden():
    from tasks.adapters.mlflow.compat import _LIGHTNING_AUTOLOG

    assert f"from {_LIGHTNING_AUTOLOG} import" in inspect.getsource(import_pytorch_flavor())


@pytest.mark.parametrize("before", [None, "sqlite:////set/by/a/person.db"])
def test_mlflow_writes_its_addresses_into_the_environment_and_we_do_not_leave_them_there(monkeypatch, before):
    import mlflow

    variables = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    for name in variables:
        if before is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, before)
    addresses = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    with process_tracking_uri("sqlite:////elsewhere/a.db"):
        with process_tracking_uri("sqlite:////elsewhere/b.db"):
            assert mlflow.get_tracking_uri() == mlflow.get_registry_uri() == "sqlite:////elsewhere/b.db"
        assert mlflow.get_tracking_uri() == mlflow.get_registry_uri() == "sqlite:////elsewhere/a.db"
        for name in variables:
            assert os.environ[name] == "sqlite:////elsewhere/a.db", "the workaround is still needed"
    assert [os.environ.get(name) for name in variables] == [before, before]
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == addresses


def test_mlflow_compares_requirements_by_the_name_that_is_replaced(monkeypatch):
    from mlflow.utils import environment

    compared = []
    monkeypatch.setattr(environment, "warn_dependency_requirement_mismatches", compared.append)
    for wanted, context in (([["mlflow==0.0.1"]], contextlib.nullcontext()), ([], installed_requirements())):
        compared.clear()
        with context:
            environment._process_pip_requirements([], ["mlflow==0.0.1"])
        assert compared == wanted
    with pytest.raises(ZeroDivisionError), installed_requirements():
        raise ZeroDivisionError
    assert environment.warn_dependency_requirement_mismatches == compared.append, "it is put back"


def test_mlflow_records_locations_of_artifacts_in_the_columns_that_are_rewritten():
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.model_registry.dbmodels import models as registry  # noqa: F401 - declares its tables
    from mlflow.store.tracking.dbmodels import models as tracking  # noqa: F401 - declares its tables

    columns = {(table.name, column.name) for table in Base.metadata.tables.values() for column in table.columns}
    places = {(table, column) for table, column in columns if "location" in column or "artifact_uri" in column}
    of_traces = {("workspaces", "trace_archival_location")}  # Nothing here records any.
    assert places - of_traces | {("model_versions", "source")} == set(LOCATIONS)
    assert DATASET_SOURCE in columns
