"""The console script `cl`: runs a command, and turns what goes wrong into one sentence and an exit code."""

import importlib
import json
import sys
from typing import NoReturn

import cyclopts
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from cl_core import registry
from cl_core.errors import CounterpointError, InputError
from cl_core.retention.policy import RetentionSpec
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, PromotionSpec, SourceSpec, TrainingSpec

FAILED, WRONG_INPUT, INTERRUPTED = 1, 2, 130

_COMMANDS = (
    *(f"flows.cli.{room}" for room in ("comparison", "doctor", "explain", "inference", "models", "operations")),
    *(f"flows.cli.{room}" for room in ("pipeline", "prune")),
)

_PREFIXES = {spec.__name__: name for spec, name in (
    (DataSpec, "data"), (SourceSpec, "data"), (TrainingSpec, "training"), (EvaluationSpec, "evaluation"),
    (PromotionSpec, "promotion"), (ComputeSpec, "compute"), (RetentionSpec, ""))}  # fmt: skip


def main() -> None:
    """Run a command; say what went wrong in one sentence, and end with 1 (failed), 2 (wrong input) or 130 (Ctrl-C)."""
    try:
        # Here, because the commands list the names there are: an installed component may be what is wrong.
        from flows.cli import comparison, doctor, explain, inference, models, operations, pipeline, prune  # noqa: F401

        for module in _COMMANDS:
            importlib.import_module(module)
        from flows.cli.app import app

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
