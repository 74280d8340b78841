"""Several recipes side by side: each retrained, or found to stand, and their scores in one table."""

import json
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.exceptions import ParameterTypeError

from cl_core.errors import InputError
from cl_core.refs import Retrained
from flows.retrain import retrain


@flow(name="compare", persist_result=True, result_serializer="json")
def compare(recipes: list[Path]) -> dict[str, Retrained]:
    """Retrain each recipe whose result does not stand; results by the recipes' names."""
    asked = {recipe.stem: _parameters(recipe) for recipe in recipes}
    return {name: retrain(**parameters) for name, parameters in asked.items()}


def _parameters(recipe: Path) -> dict[str, Any]:
    """What a recipe asks of `retrain`, validated before any of them is trained."""
    try:
        values = json.loads(recipe.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"recipes: {recipe} is not readable as JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"recipes: {recipe} must hold a JSON object with the parameters of `cl retrain`")
    try:
        parameters: dict[str, Any] = retrain.validate_parameters(values)
    except ParameterTypeError as error:
        raise InputError(f"recipes: {recipe} asks for what `cl retrain` does not know: {error}") from error
    return parameters
