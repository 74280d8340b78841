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


_PIPELINE = Group.create_ordered("Pipeline")
_MODELS = Group.create_ordered("Models")
_EMBEDDINGS = Group.create_ordered("Embeddings")
_OPERATIONS = Group.create_ordered("Operations")

COMMANDS = {
    "retrain": Command(
        "flows.retrain:retrain",
        "Ingest, pretrain, evaluate, register and, if the gate accepts it, promote. Unchanged steps are skipped.",
        _PIPELINE,
    ),
    "ingest": Command("flows.stages:ingest", "Read a source into a validated snapshot.", _PIPELINE),
    "validate": Command(
        "flows.stages:validate", "Check that a source's samples can be trained on, and report on them.", _PIPELINE
    ),
    "pretrain": Command("flows.stages:pretrain", "Train an encoder.", _PIPELINE),
    "evaluate": Command(
        "flows.stages:evaluate", "Train an encoder if needed, and evaluate it beside its baselines.", _PIPELINE
    ),
    "register": Command(
        "flows.stages:register",
        "Train an encoder if needed, and register it as a version. The champion stays.",
        _PIPELINE,
    ),
    "report": Command(
        "flows.stages:report", "Write the report of the version registered under these specs.", _PIPELINE
    ),
    "compare": Command(
        "flows.compare:compare", "Retrain each recipe, and compare their scores in one table.", _PIPELINE
    ),
    "models": Command("flows.cli.models:models", "List registered versions with their aliases and scores.", _MODELS),
    "evaluate-model": Command(
        "flows.evaluate_model:evaluate_model", "Evaluate a registered version on the snapshot of a source.", _MODELS
    ),
    "promote": Command("flows.champion:promote", "Make a version the champion, whatever the gate decided.", _MODELS),
    "rollback": Command("flows.champion:rollback", "Make the previous champion the champion again.", _MODELS),
    "explain": Command(
        "flows.cli.explanations:explain", "Explain why each step of a run ran, or the lineage of a version.", _MODELS
    ),
    "embed": Command(
        "flows.embed:embed", "Embed a dataset with a registered model, into one Parquet file.", _EMBEDDINGS
    ),
    "search": Command("flows.cli.inference:search", "Find the images nearest to an image.", _EMBEDDINGS),
    "atlas": Command("flows.cli.inference:atlas", "Open a map of the embeddings in the browser.", _EMBEDDINGS),
    "up": Command(
        "flows.cli.operations:up",
        "Start Prefect, MLflow and a worker, apply the deployments, and run until Ctrl-C.",
        _OPERATIONS,
    ),
    "down": Command("flows.cli.operations:down", "Stop what `cl up` started for this CL_HOME.", _OPERATIONS),
    "doctor": Command(
        "flows.cli.operations:doctor",
        "Compare the state in Prefect and MLflow with the processes and files on this machine.",
        _OPERATIONS,
    ),
    "prune": Command(
        "flows.prune:prune", "Remove results that no alias, recent version or running flow needs.", _OPERATIONS
    ),
}

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

CHECKED_ADDRESS = frozenset({"prune"})
"""Flows that act on what Prefect reports, so that they must ask the server of this CL_HOME's `cl up`."""

NAMED_COMPONENTS = frozenset(
    {"retrain", "ingest", "validate", "pretrain", "evaluate", "register", "report", "evaluate-model"}
)
"""Commands whose help ends with the names of the components to choose from."""
