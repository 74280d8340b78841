"""Several recipes side by side: each retrained, or found to stand, and their scores in one table."""

from pathlib import Path

from prefect import flow

from cl_core.data.roots import confined
from cl_core.refs import Retrained
from flows.recipe import parameters_of
from flows.retrain import retrain
from tasks.leases import FLOW


@flow(name="compare", **FLOW)
def compare(recipes: list[Path]) -> dict[str, Retrained]:
    """Retrain each recipe whose result does not stand; results by the recipes' names."""
    allowed = [confined(recipe, field="recipes") for recipe in recipes]
    asked = {recipe.stem: parameters_of(retrain, recipe, field="recipes") for recipe in allowed}
    return {name: retrain(**parameters) for name, parameters in asked.items()}
