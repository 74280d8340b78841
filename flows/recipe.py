"""Recipes: JSON files with values of a command's options; the command line wins over them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from cyclopts import App, Argument, ArgumentCollection, Token
from cyclopts.config import Dict

from cl_core.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """The values of a recipe, as a source that cyclopts asks after the command line.

    cyclopts' own source turns values into text, which specs read as well, and keeps the last element of a list inside
    a mapping. What goes to a component is validated only by the component, so it is handed over as JSON has it; and
    one option on the command line leaves the recipe's others in place.
    """

    values: dict[str, Any]
    source: str

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Give the arguments what the command line has left unset."""
        rest = {name: dict(value) if isinstance(value, dict) else value for name, value in self.values.items()}
        for argument in arguments:
            group = rest.get(argument.name.lstrip("-").partition(".")[0])
            if get_origin(argument.hint) is dict and isinstance(group, dict) and argument.keys[-1] in group:
                self._hand_over(group.pop(argument.keys[-1]), argument)
        Dict(rest, source=self.source, use_commands_as_keys=False)(app, commands, arguments)

    def _hand_over(self, options: Any, argument: Argument) -> None:
        given = [token.keys for token in argument.tokens]
        for keys, value in _leaves(options):
            if not any(keys[: len(other)] == other[: len(keys)] for other in given):
                argument.append(Token(keys=keys, implicit_value=value, source=self.source))


def read(path: Path) -> Recipe:
    """The recipe in a file.

    Raises:
        InputError: When there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise InputError(f"--recipe: there is no file {path}; recipes stand in infra/recipes")
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"--recipe: {path} is not readable as JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(
            f'--recipe: {path} must hold a JSON object, such as {{"training": {{"epochs": 4}}}}; '
            f"it holds a {type(values).__name__}"
        )
    return Recipe(values, str(path))


def _leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value that is no mapping, or an empty one, with the keys that lead to it."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*keys, key))
    else:
        yield keys, value
