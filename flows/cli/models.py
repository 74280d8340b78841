"""The commands about what is registered: each a thin call of a flow or of the model store."""

from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec
from flows.cli.app import app, names, prepare
from flows.parameters import ModelName, Reason, Version, VersionOrChampion


@app.command
def models(model_name: ModelName | None = None) -> None:
    """List versions with aliases, scores and the reason of the last decision.

    Args:
        model_name: Name of the registered model; all models without it.
    """
    prepare(server=False)
    from flows.cli.render import show_versions
    from tasks.adapters.mlflow.model_store import model_store

    store = model_store()
    names = [model_name] if model_name else store.names()
    for name in names:
        show_versions(name, store.versions(name))
    if not names:
        print("No model is registered yet; `cl retrain` registers one.")


@app.command(help_epilogue=names())
def measure(
    model_name: ModelName = "fashion-mnist",
    version: VersionOrChampion = 0,
    *,
    data: DataSpec = DataSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    compute: ComputeSpec = ComputeSpec(),
) -> None:
    """Measure a registered version beside raw pixels, on the snapshot of a source, and print its scores.

    Args:
        model_name: Name of the registered model.
        version: Number of the version; 0 is the champion, which users fetch.
    """
    prepare()
    from flows.cli.render import show_scores
    from flows.evaluate_model import measure as flow

    show_scores(flow(model_name, version, data, evaluation, compute))


@app.command
def promote(model_name: ModelName, version: Version, *, reason: Reason = "no reason given") -> None:
    """Make a version the champion that users fetch, whatever the gate said.

    Args:
        model_name: Name of the registered model.
        version: Number of the version.
        reason: Why, in words; kept with the version.
    """
    prepare()
    from flows.champion import promote as flow

    flow(model_name, version, reason)


@app.command
def rollback(model_name: ModelName, *, reason: Reason = "no reason given") -> None:
    """Make the version before the champion again.

    Args:
        model_name: Name of the registered model.
        reason: Why, in words; kept with the version.
    """
    prepare()
    from flows.champion import rollback as flow

    flow(model_name, reason)
