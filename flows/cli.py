"""The command line. Each command is a thin call of a flow or of the model store; nothing heavy is imported before."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import cyclopts
from cyclopts import App, Parameter
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from cl_core import registry
from cl_core.errors import CounterpointError, InputError
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, PromotionSpec, TrainingSpec
from flows.parameters import Force, ModelName, Reason, Version
from tasks.settings import Settings, embed_prefect

FAILED, WRONG_INPUT, INTERRUPTED = 1, 2, 130

_PREFIXES = {spec.__name__: name for name, spec in {
    "data": DataSpec, "training": TrainingSpec, "evaluation": EvaluationSpec, "promotion": PromotionSpec,
    "compute": ComputeSpec}.items()}  # fmt: skip


def _names() -> str:
    """What can be chosen by name, for the end of a help page."""
    chosen = {
        "--data.source": registry.SOURCES,
        "--training.method": registry.METHODS,
        "--training.loss": registry.LOSSES,
        "--training.views": registry.VIEWS,
        "--training.encoder": registry.ENCODERS,
        "--evaluation.protocols": registry.EVALUATIONS,
    }
    return "Names to choose from:\n\n" + "\n\n".join(f"{o}: {', '.join(r.names())}" for o, r in chosen.items())


app = App(
    name="cl",
    help="Counterpoint: from a team's own images to a registered embedding model.",
    help_epilogue="Settings come from the environment: CL_HOME (default ./.counterpoint), MLFLOW_TRACKING_URI, "
    "PREFECT_API_URL, RAY_ADDRESS.",
    version=lambda: _version(),
    suppress_keyboard_interrupt=False,
)


@app.command(help_epilogue=_names())
def retrain(
    *,
    model_name: ModelName = "fashion-mnist",
    data: DataSpec = DataSpec(),
    training: TrainingSpec = TrainingSpec(),
    evaluation: EvaluationSpec = EvaluationSpec(),
    promotion: PromotionSpec = PromotionSpec(),
    compute: ComputeSpec = ComputeSpec(),
    force: Force = False,
) -> None:
    """Ingest, pretrain, evaluate, register and perhaps promote. What stands is not done again.

    Args:
        model_name: Name of the registered model.
        force: Read the source, and train, again even if the results stand.
    """
    began = _prepare()
    from prefect import get_client

    from flows.retrain import retrain as flow
    from flows.summary import show

    # Where there is no Prefect server, a temporary one starts here: its start is no part of the flow.
    with get_client(sync_client=True):
        pass
    flow_began = time.monotonic()
    result = flow(model_name, data, training, evaluation, promotion, compute, force)
    show(result, flow_seconds=time.monotonic() - flow_began, total_seconds=time.time() - began)


@app.command(help_epilogue=_names())
def ingest(*, data: DataSpec = DataSpec(), compute: ComputeSpec = ComputeSpec(), force: Force = False) -> None:
    """Bring a source's samples into a validated snapshot, and print its folder.

    Args:
        force: Read the source, and train, again even if the results stand.
    """
    _prepare()
    from flows.ingest import ingest as flow

    print(flow(data, compute, force).path)


@app.command(help_epilogue=_names())
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
    _prepare()
    from flows.pretrain import pretrain as flow

    print(flow(data, training, compute, force).path)


@app.command(help_epilogue=_names())
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
    _prepare()
    from flows.evaluate import evaluate as flow
    from flows.summary import show_scores

    show_scores(flow(data, training, evaluation, compute, force))


@app.command
def models(model_name: ModelName | None = None) -> None:
    """List versions with aliases, scores and the reason of the last decision.

    Args:
        model_name: Name of the registered model; all models without it.
    """
    _prepare()
    from flows.summary import show_versions
    from tasks.registration import model_store

    store = model_store()
    names = [model_name] if model_name else store.names()
    for name in names:
        show_versions(name, store.versions(name))
    if not names:
        print("No model is registered yet; `cl retrain` registers one.")


@app.command
def promote(model_name: ModelName, version: Version, *, reason: Reason = "no reason given") -> None:
    """Make a version the champion that users fetch, whatever the gate said.

    Args:
        model_name: Name of the registered model.
        version: Number of the version.
        reason: Why, in words; kept with the version.
    """
    _prepare()
    from flows.promote import promote as flow

    flow(model_name, version, reason)


@app.command
def rollback(model_name: ModelName, *, reason: Reason = "no reason given") -> None:
    """Make the version before the champion again.

    Args:
        model_name: Name of the registered model.
        reason: Why, in words; kept with the version.
    """
    _prepare()
    from flows.promote import rollback as flow

    flow(model_name, reason)


app.meta.suppress_keyboard_interrupt = False


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    recipe: Annotated[
        Path | None, Parameter(help="JSON file with values of any of the options below; the command line wins.")
    ] = None,
) -> None:
    if recipe is not None:
        app.config = (cyclopts.config.Dict(_read(recipe), source=str(recipe), use_commands_as_keys=False),)
    app(tokens, exit_on_error=False, print_error=False)


def _read(recipe: Path) -> dict[str, Any]:
    if not recipe.is_file():
        raise InputError(f"--recipe: there is no file {recipe}; recipes stand in infra/recipes")
    try:
        values: dict[str, Any] = json.loads(recipe.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"--recipe: {recipe} is not readable as JSON: {error}") from error
    return values


def main() -> None:
    """Run a command; say what went wrong in one sentence, and end with 1 (failed), 2 (wrong input) or 130 (Ctrl-C)."""
    try:
        app.meta(exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        _fail(_explained(error), WRONG_INPUT)
    except InputError as error:
        _fail(str(error), WRONG_INPUT)
    except CounterpointError as error:
        _fail(str(error), FAILED)
    except KeyboardInterrupt:
        _fail("stopped; what was finished stands, and the same command goes on from the last checkpoint", INTERRUPTED)


def _explained(error: cyclopts.CycloptsError) -> str:
    cause = error.__cause__ or error.__context__
    name = error.argument.name.lstrip("-").replace("-", "_") if error.argument else ""
    if isinstance(cause, ValidationError):
        # What is no spec is a parameter by itself: it goes by its own name.
        return registry.explain(cause, _PREFIXES.get(cause.title, name), [])
    if isinstance(cause, json.JSONDecodeError):
        return f'{name}: wanted JSON, such as {{"a": 1}}; got {cause.doc!r}: {cause}'
    return str(error)


def _fail(message: str, code: int) -> NoReturn:
    Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(code)


def _prepare() -> float:
    """Get the process ready for flows; returns when it began, in seconds since 1970."""
    import psutil

    embed_prefect(Settings.from_environment())
    # A scheduler's or a shell's SIGTERM ends a command as cleanly as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Idle threads that spin take a small machine's cores from the work; it must be set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return psutil.Process().create_time()


def _version() -> str:
    from importlib.metadata import version

    return version("counterpoint")
