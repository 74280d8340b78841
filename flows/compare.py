"""Retrain several recipes, and compare their scores."""

from prefect import flow

from cl_core import artifact_dir
from cl_core.data.path_roots import confined
from cl_core.refs import Ref, RetrainResult
from cl_core.report.comparison import comparison_markdown
from flows.cli.recipes import recipe_values, validated_parameters
from flows.parameters import Recipes, TableFile
from flows.retrain import retrain
from tasks.runtime.hooks import FLOW


class Comparison(Ref):
    """The result of a comparison."""

    results: dict[str, RetrainResult]
    """By the recipe's name."""


@flow(name="compare", **FLOW)
def compare(recipes: Recipes, *, table: TableFile = None) -> Comparison:
    """Retrain each recipe, and compare their scores in one table."""
    files = [confined(recipe, field="recipes") for recipe in recipes]
    table_file = table and confined(table, field="table")
    parameters = {
        recipe: validated_parameters(retrain, recipe_values(recipe, field="recipes"), where=f"recipes: {recipe}")
        for recipe in files
    }
    results = {recipe.stem: retrain(**{**parameters[recipe], "recipe": recipe.name}) for recipe in files}
    if table_file:
        artifact_dir.write_text(table_file, comparison_markdown(results))
    return Comparison(results=results)
