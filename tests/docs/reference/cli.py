"""The commands of `cl`, with their options."""

import inspect
from pathlib import Path
from typing import Any, get_origin

from cyclopts import App, Argument

from flows.cli.app import make_app
from flows.cli.commands import COMMANDS, WITHOUT_RESULT
from reference.markdown import code, document, sections, table

_PREFIXES = ("data", "training", "evaluation", "promotion", "compute")


def page() -> str:
    """Return the page of the commands."""
    app, names = make_app(), sorted(COMMANDS)
    parts = [
        (
            "`cl COMMAND --help` prints the same on the terminal. [Exit codes](errors.md#exit-codes-of-cl) are the "
            "same for all commands. Every command also takes two more options. `--recipe FILE.json` has values for any "
            "of its options; the command line wins. `--json` prints the result as one JSON document; "
            f"{' and '.join(f'`cl {name}`' for name in sorted(WITHOUT_RESULT))} have no result."
        ),
        table(("command", "summary"), ((f"[`cl {name}`](#cl-{name})", COMMANDS[name].summary) for name in names)),
    ]
    for name in names:
        parts += [f"## cl {name}", _description(app[name]), _usage(name, app[name]), *_options(app[name])]
    return document("Commands", *parts)


def _description(command: App) -> str:
    return sections(inspect.cleandoc(command.help or ""))[0]


def _usage(name: str, command: App) -> str:
    """Return what may be given without its option's name; empty text where nothing may."""
    positional = [argument for argument in _arguments(command) if argument.index is not None]
    words = [argument.name.lstrip("-").upper() + "..." * (get_origin(argument.hint) is list) for argument in positional]
    shown = [word if argument.required else f"[{word}]" for argument, word in zip(positional, words, strict=True)]
    return f"Positional form: {code(' '.join(['cl', name, *shown]))}." if shown else ""


def _arguments(command: App) -> list[Argument]:
    return [argument for argument in command.assemble_argument_collection(parse_docstring=True) if argument.show]


def _options(command: App) -> list[str]:
    arguments = _arguments(command)
    own = [argument for argument in arguments if "." not in argument.name]
    groups = [prefix for prefix in _PREFIXES if any(each.name.startswith(f"--{prefix}.") for each in arguments)]
    parts = [table(("option", "default", "meaning"), ((_names(each), _default(each), _help(each)) for each in own))]
    if groups:
        links = ", ".join(f"[`--{group}.*`](specs.md#{_anchor(command, group)})" for group in groups)
        parts.append(f"Specs: {links}.")
    return parts


def _anchor(command: App, group: str) -> str:
    return "source" if group == "data" and "embed" in command.name else group


def _names(argument: Argument) -> str:
    return ", ".join(code(name) for name in argument.names)


def _default(argument: Argument) -> str:
    value: Any = argument.field_info.default
    if argument.required:
        return "required"
    if value is None or value is inspect.Parameter.empty:
        return ""
    return code(value if isinstance(value, str | int | float | Path) else "")


def _help(argument: Argument) -> str:
    return argument.parameter.help or ""
