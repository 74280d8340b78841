"""Recipes: JSON files with values of a command's options; the command line wins over them."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from cyclopts import App, Argument, ArgumentCollection, Token
from cyclopts.config import Dict

from cl_core.errors import InputError

if TYPE_CHECKING:
    from prefect import Flow


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
    return Recipe(values_of(path, field="--recipe"), str(path))


def bearing(name: str) -> AbstractContextManager[Any]:
    """The runs that begin in here bear a recipe's name as a tag, by which their versions tell where they come from."""
    from prefect import tags

    from tasks.runtime.provenance import RECIPE_TAG

    return tags(f"{RECIPE_TAG}{name}") if name else nullcontext()


def parameters_of(flow: "Flow[..., Any]", path: Path, *, field: str) -> dict[str, Any]:
    """The values of a recipe, complete and validated as parameters of a flow.

    Raises:
        InputError: When there is no such file, or it asks for what the flow does not take.
    """
    return validated(flow, values_of(path, field=field), where=f"{field}: {path}")


def validated(flow: "Flow[..., Any]", values: dict[str, Any], *, where: str) -> dict[str, Any]:
    """Values, complete and as the flow takes them.

    Raises:
        InputError: When the flow does not take them.
    """
    from prefect.exceptions import ParameterTypeError, SignatureMismatchError

    try:
        parameters: dict[str, Any] = flow.validate_parameters(values)
    except (ParameterTypeError, SignatureMismatchError) as error:
        raise InputError(f"{where} asks for what the flow {flow.name!r} does not take: {error}") from error
    return parameters


def values_of(path: Path, *, field: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: When there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise InputError(f"{field}: there is no file {path}; recipes stand in infra/recipes")
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{field}: {path} is not readable as JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(
            f'{field}: {path} must hold a JSON object, such as {{"training": {{"epochs": 4}}}}; '
            f"it holds a {type(values).__name__}"
        )
    return values


def _leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value that is no mapping, or an empty one, with the keys that lead to it."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*keys, key))
    else:
        yield keys, value
