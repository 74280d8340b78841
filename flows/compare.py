"""Compare recipes: retrain each unless it is up to date, and collect the results."""

from pathlib import Path

from prefect import flow

from cl_core.data.path_roots import confined
from cl_core.refs import RetrainResult
from flows.cli.recipes import parameters_of
from flows.retrain import retrain
from tasks.runtime.hooks import FLOW


@flow(name="compare", **FLOW)
def compare(recipes: list[Path]) -> dict[str, RetrainResult]:
    """Retrain each recipe unless it is up to date; return the results by recipe name."""
    allowed = [confined(recipe, field="recipes") for recipe in recipes]
    parameters = {recipe: parameters_of(retrain, recipe, field="recipes") for recipe in allowed}
    return {recipe.stem: retrain(**values, recipe=recipe.name) for recipe, values in parameters.items()}
