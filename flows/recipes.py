"""Recipes: JSON files with values of a command's options; the command line wins over them."""

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_core.errors import InputError

if TYPE_CHECKING:
    from prefect import Flow


def validated_parameters(
    flow: "Flow[..., Any]", values: dict[str, Any], *, where: str, partial: bool = False
) -> dict[str, Any]:
    """Return values as the flow takes them, with defaults for the rest.

    Args:
        flow: Whose parameters they are.
        values: By parameter.
        where: They come from, for the message.
        partial: Parameters without a default may be left out; they are then missing from what is returned.

    Raises:
        InputError: When the flow does not take them.
    """
    from prefect.exceptions import ParameterTypeError, SignatureMismatchError

    if partial:
        flow = _without(flow, set(flow.parameters.required) - set(values))
    try:
        parameters: dict[str, Any] = flow.validate_parameters(values)
    except (ParameterTypeError, SignatureMismatchError) as error:
        raise InputError(f"{where} sets parameters that the flow {flow.name!r} does not accept: {error}") from error
    return parameters


def _without(flow: "Flow[..., Any]", parameters: set[str]) -> "Flow[..., Any]":
    """Return a flow that takes the same without some parameters, to validate the others."""
    if not parameters:
        return flow
    from prefect import Flow

    def rest(**values: Any) -> None: ...

    signature = inspect.signature(flow.fn)
    others = [parameter for name, parameter in signature.parameters.items() if name not in parameters]
    rest.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    return Flow(rest, name=flow.name)


def recipe_values(path: Path, *, field: str) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        InputError: When there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise InputError(f"{field}: there is no file {path}; the project's recipes are in infra/recipes")
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{field}: {path} is not readable as JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(
            f'{field}: {path} must hold a JSON object, such as {{"training": {{"epochs": 4}}}}; '
            f"it holds a {type(values).__name__}"
        )
    return values
