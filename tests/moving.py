"""A small home with a registered version, and what its database holds."""

import shutil
import sqlite3
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput

from tasks.adapters.mlflow.connection import connected

NAME = "shoes"


def small_home(home: Path, database: Path, artifacts: str = "") -> Path:
    """A home with one version of a model, whose files are not those of a model.

    Args:
        home: Is made.
        database: An empty one of MLflow, which is copied.
        artifacts: Location of the model's experiment; default: as commands record it.
    """
    home.mkdir(parents=True)
    shutil.copy(database, home / "mlflow.db")
    location = artifacts or (home / "mlflow-artifacts" / NAME).as_uri()
    with connected(address(home)) as client:
        experiment = client.create_experiment(NAME, location)
        run = client.create_run(experiment)
        model = client.create_logged_model(experiment, name="encoder", source_run_id=run.info.run_id)
        client.create_registered_model(NAME)
        client.create_model_version(NAME, model.model_uri, run.info.run_id, model_id=model.model_id)
        source = f'{{"uri": "{(home / "datasets" / "shoes").as_uri()}"}}'
        client.log_inputs(run.info.run_id, datasets=[DatasetInput(Dataset("shoes", "5", "local", source))])
    for folder, file in ((run.info.run_id, "spec.json"), (f"models/{model.model_id}", "MLmodel")):
        path = home / "mlflow-artifacts" / NAME / folder / "artifacts" / file
        path.parent.mkdir(parents=True)
        path.write_text(file)
    return home


def address(home: Path) -> str:
    return f"sqlite:///{home}/mlflow.db"


def holding(home: Path, text: str) -> set[tuple[str, str]]:
    """The tables and columns of MLflow's database that hold a text anywhere."""
    with sqlite3.connect(home / "mlflow.db") as database:
        columns = database.execute(
            "SELECT m.name, c.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table'"
        ).fetchall()
        query = 'SELECT count(*) FROM "{}" WHERE instr("{}", ?)'
        found = {one for one in columns if database.execute(query.format(*one), [text]).fetchone() != (0,)}
    database.close()
    return found
