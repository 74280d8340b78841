"""Several recipes side by side: each retrained, or found to stand, and their scores in one table."""

from pathlib import Path

from prefect import flow

from cl_core.data.path_roots import confined
from cl_core.refs import RetrainResult
from flows.cli.recipes import bearing, parameters_of
from flows.retrain import retrain
from tasks.runtime.hooks import FLOW


@flow(name="compare", **FLOW)
def compare(recipes: list[Path]) -> dict[str, RetrainResult]:
    """Retrain each recipe whose result does not stand; results by the recipes' names."""
    allowed = [confined(recipe, field="recipes") for recipe in recipes]
    asked = {recipe: parameters_of(retrain, recipe, field="recipes") for recipe in allowed}
    results = {}
    for recipe, parameters in asked.items():
        with bearing(recipe.name):
            results[recipe.stem] = retrain(**parameters)
    return results
