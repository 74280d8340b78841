"""The console script `cl`: run a command, show its result, and turn what goes wrong into a sentence and an exit code.

A command is a flow, or a function of `flows.cli`, imported when it is called (`flows.cli.commands`). Its signature,
defaults and option help are written there and nowhere else.
"""

import gc
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, NamedTuple, NoReturn

import cyclopts
from cyclopts import App, Group, Parameter
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from cl_core import registry
from cl_core.errors import CounterpointError, InputError
from flows.cli import commands, refusals
from flows.cli.commands import COMMANDS

FAILED, WRONG_INPUT, INTERRUPTED = 1, 2, 130

_HELP = "Counterpoint: turn your own data into a registered embedding model."
_EPILOGUE = (
    "Settings come from the environment: CL_HOME (default ./.counterpoint), MLFLOW_TRACKING_URI, PREFECT_API_URL, "
    "RAY_ADDRESS, CL_NOTIFY (a Prefect notification block, such as slack-webhook/team).\n\n"
    "Exit codes: 0 on success, 1 for a failure or a problem found, 2 for invalid input or missing permissions, 130 "
    "after Ctrl-C."
)
_RECIPE = "JSON file with values of any of the command's options; the command line wins."
_JSON = "Print the result as one JSON document on stdout."
_OPTIONS = Group.create_ordered("Options")


class Finished(NamedTuple):
    """What a command returned after some seconds, and how to print it."""

    result: object
    seconds: float
    as_json: bool


def main() -> None:
    """Run a command; exit with 0, 1 (failed), 2 (invalid input or missing permissions) or 130 (Ctrl-C)."""
    # While libraries are imported, a fifth of the time would go into collections that find nothing.
    gc.disable()
    try:
        _print_anywhere()
        name, tokens = _current_names(sys.argv[1:])
        # To suggest a command for one that is mistyped, cyclopts imports all.
        if any(not token.startswith("-") for token in tokens):
            from flows.cli import environment

            own = name in commands.OWN_ENVIRONMENT
            environment.set_environment_of_up() if own else environment.set_environment()
        code = make_app().meta(tokens, exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        _fail(refusals.explained(error), WRONG_INPUT)
    except InputError as error:
        _fail(str(error), WRONG_INPUT)
    except CounterpointError as error:
        _fail(str(error), FAILED)
    except ValidationError as error:
        from tasks.runtime.process_environment import refused_setting

        refused = refused_setting(error)
        _fail(str(refused), WRONG_INPUT) if refused else _fail(_unforeseen(error), FAILED)
    except Exception as error:
        _fail(_unforeseen(error), FAILED)
    except KeyboardInterrupt as stop:
        _fail(str(stop) or "interrupted; completed steps are kept, run the same command to resume", INTERRUPTED)
    finally:
        gc.enable()
    sys.exit(code)


def _print_anywhere() -> None:
    """Let a terminal of another encoding show what it has no characters for as escapes.

    Raises:
        InputError: When names of files would be read as ASCII: those of others could neither be sent nor stored.
    """
    if sys.getfilesystemencoding() == "ascii":
        raise InputError(
            "names of files and arguments would be read as ASCII (PYTHONUTF8 is 0, with the C locale); unset "
            "PYTHONUTF8, or set LC_ALL to C.UTF-8"
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def make_app() -> App:
    """Return the application, with every command registered by name only."""
    app = App(
        name="cl",
        help=_HELP,
        help_epilogue=_EPILOGUE,
        version=lambda: version("counterpoint"),
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    # Read at every start: an installed component whose name is taken is refused by every command.
    names = _component_names()
    for position, (name, command) in enumerate(COMMANDS.items()):
        app.command(
            command.target,
            name=name,
            help=command.summary,
            group=command.group,
            sort_key=position,
            help_epilogue=names if name in commands.NAMED_COMPONENTS else "",
        )
    app.meta.suppress_keyboard_interrupt = False
    app.meta.result_action = _show
    app.meta["--help"].group = app.meta["--version"].group = _OPTIONS

    @app.meta.default
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        recipe: Annotated[Path | None, Parameter(help=_RECIPE, group=_OPTIONS)] = None,
        json: Annotated[bool, Parameter(help=_JSON, group=_OPTIONS, negative=(), show_default=False)] = False,
    ) -> Finished:
        return _launch(app, tokens, recipe, as_json=json)

    return app


def _launch(app: App, tokens: tuple[str, ...], recipe: Path | None, *, as_json: bool) -> Finished:
    """Parse a command line, and run its command."""
    from flows.cli.compat import Recipe

    name = next((token for token in tokens if token in COMMANDS), "")
    if as_json and name in commands.WITHOUT_RESULT:
        raise InputError(f"--json: `cl {name}` prints no result; run it without --json")
    if recipe is not None:
        app.config = (Recipe.read(recipe),)
    command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    asked = not isinstance(getattr(command, "__self__", None), App)  # Help and version are methods of App.
    if asked and name not in commands.OWN_ENVIRONMENT:
        from flows.cli import environment

        if name in commands.TRAINS:
            environment.check_compute(bound.arguments.get("compute"))
        environment.begin()
        if name in commands.CHECKED_ADDRESS:
            environment.check_prefect_address()
        if COMMANDS[name].is_flow:
            environment.check_home()
            environment.start_prefect(*commands.IMPORTED_MEANWHILE[name in commands.TRAINS])
            environment.check_prefect_answers()
            environment.cancel_at_ctrl_c()
    # What has been imported stays, and need not be looked through again.
    gc.freeze()
    gc.enable()
    began = time.monotonic()
    named = {"recipe": recipe.name} if recipe is not None and name in commands.RECORDED_RECIPE else {}
    result = command(*bound.args, **bound.kwargs, **named)
    return Finished(result, time.monotonic() - began, as_json)


def _show(finished: Finished | None) -> int:
    """Print the result of a command, and return the exit code; help and version have none."""
    if finished is None or finished.result is None:
        return 0
    from flows.cli.render import render, render_json

    return render_json(finished.result) if finished.as_json else render(finished.result, seconds=finished.seconds)


def _current_names(tokens: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command, empty without one, and the tokens with names of 0.1.0 replaced by today's."""
    for at, token in enumerate(tokens):
        if at and tokens[at - 1] == "--recipe":
            continue
        name = _renamed("command", commands.RENAMED_COMMANDS, token)
        if name in COMMANDS:
            options = commands.RENAMED_OPTIONS.get(name, {})
            rest = (token.partition("=") for token in tokens[at + 1 :])
            new = [f"{_renamed('option', options, option)}{equals}{value}" for option, equals, value in rest]
            return name, [*tokens[:at], name, *new]
    return "", list(tokens)


def _renamed(kind: str, names: Mapping[str, str], name: str) -> str:
    """Return today's name; warn if another one was given."""
    if name in names:
        message = f"the {kind} {name} is renamed to {names[name]}; the old name goes with the next release"
        Console(stderr=True).print(f"[bold yellow]warning:[/] {escape(message)}", highlight=False, soft_wrap=True)
    return names.get(name, name)


def _component_names() -> str:
    """Return what can be chosen by name, for the end of a help page."""
    options = {
        "--data.source": registry.SOURCES,
        "--training.method": registry.METHODS,
        "--training.loss": registry.LOSSES,
        "--training.views": registry.VIEWS,
        "--training.encoder": registry.ENCODERS,
        "--evaluation.protocols": registry.EVALUATIONS,
    }
    return "Names to choose from:\n\n" + "\n\n".join(f"{o}: {', '.join(r.names())}" for o, r in options.items())


def _unforeseen(error: Exception) -> str:
    """Keep the traceback in a file, and return a sentence that names it; with CL_DEBUG=1, let the error rise."""
    import tempfile
    import traceback

    from tasks.runtime.settings import Settings

    with suppress(InputError):
        if Settings.from_environment().debug:
            raise error

    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="cl-error-", suffix=".log", delete=False) as log:
        log.write(f"cl {shlex.join(sys.argv[1:])}\n\n")
        traceback.print_exception(error, file=log)
    said = str(error).strip().split("\n")[0].rstrip(".") or "no message"
    return f"unforeseen {type(error).__name__}: {said}. The traceback is in {log.name}; CL_DEBUG=1 shows it"


def _fail(message: str, code: int) -> NoReturn:
    Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(code)
