"""The table of commands: where each lives, and its one-line summary. Nothing is imported before it is called."""

from typing import NamedTuple

from cyclopts import Group


class Command(NamedTuple):
    """An entry of the table.

    Args:
        target: `module:function`; a flow, or a function of `flows.cli`.
        summary: First sentence of the target's docstring; shown without importing it.
        group: Heading in `cl --help`.
    """

    target: str
    summary: str
    group: Group

    @property
    def is_flow(self) -> bool:
        """Return whether the target is a Prefect flow, which needs a Prefect server."""
        return not self.target.startswith("flows.cli.")


_TABLE = {
    "Pipeline": {
        "flows.retrain:retrain": "Ingest, pretrain, evaluate, register and, if the gate accepts it, promote. "
        "Unchanged steps are skipped.",
        "flows.stages:ingest": "Read a source into a validated snapshot.",
        "flows.stages:validate": "Check that a source's samples can be trained on, and report on them.",
        "flows.stages:pretrain": "Train an encoder.",
        "flows.stages:evaluate": "Train an encoder if needed, and evaluate it beside its baselines.",
        "flows.stages:register": "Train an encoder if needed, and register it as a version. The champion stays.",
        "flows.stages:report": "Write the report of the version registered under these specs.",
        "flows.compare:compare": "Retrain each recipe, and compare their scores in one table.",
    },
    "Models": {
        "flows.cli.models:models": "List registered versions with their aliases and scores.",
        "flows.cli.models:fetch": "Copy a registered version into a folder, to be loaded without a server.",
        "flows.evaluate_model:evaluate_model": "Evaluate a registered version on the snapshot of a source.",
        "flows.champion:promote": "Make a version the champion, whatever the gate decided.",
        "flows.champion:rollback": "Make the previous champion the champion again.",
        "flows.cli.explanations:explain": "Explain why each step of a run ran, or the lineage of a version.",
    },
    "Embeddings": {
        "flows.embed:embed": "Embed a dataset with a registered model, into one Parquet file.",
        "flows.cli.inference:search": "Find the samples nearest to the one in a file, or to a text.",
        "flows.cli.inference:classify": "Classify images by the names of classes, without labeled images.",
        "flows.cli.inference:atlas": "Open a map of the embeddings in the browser.",
    },
    "Operations": {
        "flows.cli.operations:up": "Start Prefect, MLflow and a worker, apply the deployments, and run until Ctrl-C.",
        "flows.cli.operations:down": "Stop what `cl up` started for this CL_HOME.",
        "flows.cli.operations:doctor": "Compare the state in Prefect and MLflow with the processes and files on this "
        "machine.",
        "flows.prune:prune": "Remove results that no alias, recent version or running flow needs.",
    },
}

COMMANDS = {
    target.partition(":")[2].replace("_", "-"): Command(target, summary, group)
    for group, targets in ((Group.create_ordered(title), targets) for title, targets in _TABLE.items())
    for target, summary in targets.items()
}
"""By name, which is the target's with dashes."""

RENAMED_COMMANDS = {"measure": "evaluate-model"}
"""Old name -> new name; accepted for one release, with a warning."""

RENAMED_OPTIONS = {"doctor": {"--mend": "--fix", "--no-mend": "--no-fix"}}
"""By command, old option -> new option; accepted for one release, with a warning."""

WITHOUT_RESULT = frozenset({"up", "atlas"})
"""Commands that return no result, so that `--json` has nothing to print."""

OWN_ENVIRONMENT = frozenset({"up", "down"})
"""Commands that set the environment themselves: servers and workers that they start inherit it."""

RECORDED_RECIPE = frozenset({"retrain", "register"})
"""Flows that record the recipe's name with the version that they register."""

TRAINS = frozenset({"retrain", "pretrain", "evaluate", "register", "report"})
"""Flows that may train, so that their workers and threads must be there."""

_MLFLOW = ("mlflow", "mlflow.store.tracking.sqlalchemy_store")
IMPORTED_MEANWHILE = {False: _MLFLOW, True: (*_MLFLOW, "cl_core.training.components")}
"""By whether a flow may train, modules that take seconds to import."""

CHECKED_ADDRESS = frozenset({"prune"})
"""Flows that act on what Prefect reports, so that they must ask the server of this CL_HOME's `cl up`."""

NAMED_COMPONENTS = frozenset(
    {"retrain", "ingest", "validate", "pretrain", "evaluate", "register", "report", "evaluate-model"}
)
"""Commands whose help ends with the names of the components to choose from."""
