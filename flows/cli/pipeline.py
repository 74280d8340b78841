"""The commands that make something: each a thin call of the flow of its name; nothing heavy is imported before."""

import time

from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, PromotionSpec, TrainingSpec
from flows.cli.app import app, names, prepare, recipe_name
from flows.parameters import Force, ModelName, RecipeName


@app.command(help_epilogue=names())
def retrain(
    *,
    model_name: ModelName = "fashion-mnist",
    data: DataSpec = DataSpec(),
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    promotion: PromotionSpec = PromotionSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
    recipe: RecipeName = "",
) -> None:
    """Ingest, pretrain, evaluate, register and perhaps promote. What stands is not done again.

    Args:
        model_name: Name of the registered model.
        force: Read the source, and train, again even if the results stand.
    """
    began = prepare()
    from flows.cli.render import show
    from flows.retrain import retrain as flow

    flow_began = time.monotonic()
    named = recipe or recipe_name()
    result = flow(model_name, data, training, evaluation, promotion, compute, force, named)
    show(result, flow_seconds=time.monotonic() - flow_began, total_seconds=time.time() - began)


@app.command(help_epilogue=names())
def ingest(*, data: DataSpec = DataSpec(), compute: ComputeSpec = ComputeSpec(), force: Force = False) -> None:
    """Bring a source's samples into a validated snapshot, and print its folder.

    Args:
        force: Read the source, and train, again even if the results stand.
    """
    prepare()
    from flows.stages import ingest as flow

    print(flow(data, compute, force).path)


@app.command(help_epilogue=names())
def validate(*, data: DataSpec = DataSpec(), compute: ComputeSpec = ComputeSpec(), force: Force = False) -> None:
    """Bring a source's samples in as `ingest` does, and print what is known of them, near-duplicates included.

    Args:
        force: Read the source, and train, again even if the results stand.
    """
    prepare()
    from flows.cli.render import show_validation
    from flows.stages import validate as flow

    show_validation(flow(data, compute, force))


@app.command(help_epilogue=names())
def pretrain(
    *,
    data: DataSpec = DataSpec(),
    training: TrainingSpec = TrainingSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
) -> None:
    """Train an encoder, and print the folder of its final checkpoint.

    Args:
        force: Read the source, and train, again even if the results stand.
    """
    prepare()
    from flows.stages import pretrain as flow

    print(flow(data, training, compute, force).path)


@app.command(help_epilogue=names())
def evaluate(
    *,
    data: DataSpec = DataSpec(),
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
) -> None:
    """Measure a trained encoder beside its baselines, and print its scores; trains it first where it must.

    Args:
        force: Read the source, and train, again even if the results stand.
    """
    prepare()
    from flows.cli.render import show_scores
    from flows.stages import evaluate as flow

    show_scores(flow(data, training, evaluation, compute, force))


@app.command(help_epilogue=names())
def register(
    *,
    model_name: ModelName = "fashion-mnist",
    data: DataSpec = DataSpec(),
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
    recipe: RecipeName = "",
) -> None:
    """Register a trained encoder as a version, and print its address; trains it first where it must. No gate.

    Args:
        model_name: Name of the registered model.
        force: Read the source, and train, again even if the results stand.
    """
    prepare()
    from flows.stages import register as flow

    print(flow(model_name, data, training, evaluation, compute, force, recipe or recipe_name()).uri)


@app.command(help_epilogue=names())
def report(
    *,
    model_name: ModelName = "fashion-mnist",
    data: DataSpec = DataSpec(),
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    compute: ComputeSpec = ComputeSpec(),
) -> None:
    """Write the report of the version that was registered under these options, and print its path.

    Args:
        model_name: Name of the registered model.
    """
    prepare()
    from flows.stages import report as flow

    print(flow(model_name, data, training, evaluation, compute).path)
