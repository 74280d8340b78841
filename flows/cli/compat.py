"""Work-arounds for cyclopts, each with a canary test in tests/flows/test_cyclopts.py that fails when it can go.

`cyclopts.config.Dict` hands values to a `dict[str, Any]` as text, and of a list inside such a mapping only the last
element (cyclopts 5.4, https://cyclopts.readthedocs.io/en/stable/api.html#cyclopts.config.Dict). A recipe's options
would lose the types that JSON gave them: specs read text as well, but options are validated by the component alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from cyclopts import App, Argument, ArgumentCollection, Token
from cyclopts.config import Dict

from flows.recipes import recipe_values


@dataclass(frozen=True)
class Recipe:
    """The values of a recipe, as a source that cyclopts asks after the command line.

    Options of components are handed over as JSON has them, and an option on the command line leaves the recipe's other
    options in place.
    """

    values: dict[str, Any]
    source: str

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """Return the recipe in a file.

        Raises:
            InputError: When there is no such file, or it holds something else.
        """
        return cls(recipe_values(path, field="--recipe"), str(path))

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Give the arguments the values that the command line has not set."""
        rest = {name: dict(value) if isinstance(value, dict) else value for name, value in self.values.items()}
        for argument in arguments:
            group = rest.get(argument.name.lstrip("-").partition(".")[0])
            if get_origin(argument.hint) is dict and isinstance(group, dict) and argument.keys[-1] in group:
                self._hand_over(group.pop(argument.keys[-1]), argument)
        Dict(rest, source=self.source, use_commands_as_keys=False)(app, commands, arguments)

    def _hand_over(self, options: Any, argument: Argument) -> None:
        paths = [token.keys for token in argument.tokens]
        for keys, value in _leaves(options):
            if not any(keys[: len(other)] == other[: len(keys)] for other in paths):
                argument.append(Token(keys=keys, implicit_value=value, source=self.source))


def _leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value that is not a mapping, or is an empty one, with the keys that lead to it."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*keys, key))
    else:
        yield keys, value
