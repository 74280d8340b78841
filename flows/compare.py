"""Retrain several recipes, each with one or more seeds, and compare their scores."""

from typing import Any

from prefect import flow
from pydantic import Field

from cl_core import artifact_dir
from cl_core.data.path_roots import confined
from cl_core.errors import SpecError
from cl_core.refs import Ref, RetrainResult
from cl_core.report.comparison import comparison_markdown
from flows.parameters import Recipes, Seeds, TableFile
from flows.recipes import recipe_values, validated_parameters
from flows.retrain import retrain
from tasks.runtime.hooks import FLOW


class Comparison(Ref):
    """The result of a comparison."""

    results: dict[str, list[RetrainResult]] = Field(description="By the recipe's name, one for each seed.")


@flow(name="compare", **FLOW)
def compare(recipes: Recipes, *, seeds: Seeds = [], table: TableFile = None) -> Comparison:  # noqa: B006 - never changed
    """Retrain each recipe, and compare their scores in one table."""
    if len(set(seeds)) < len(seeds):
        raise SpecError(f"seeds: {seeds} has one twice; give each once")
    files = [confined(recipe, field="recipes") for recipe in recipes]
    table_file = table and confined(table, field="table")
    # All are validated before the first is trained.
    runs = {
        recipe: [
            validated_parameters(retrain, values, where=f"recipes: {recipe}")
            for values in _with_seeds(recipe_values(recipe, field="recipes"), seeds)
        ]
        for recipe in files
    }
    results = {
        recipe.stem: [retrain(**{**parameters, "recipe": recipe.name}) for parameters in runs[recipe]]
        for recipe in files
    }
    if table_file:
        artifact_dir.write_text(table_file, comparison_markdown(results))
    return Comparison(results=results)


def _with_seeds(values: dict[str, Any], seeds: list[int]) -> list[dict[str, Any]]:
    """Return a recipe's values once for each seed; the best of several seeds on the test split is not promoted."""
    if not seeds:
        return [values]
    promotion = {**values.get("promotion", {}), "automatic": False}
    return [
        {**values, "training": {**values.get("training", {}), "seed": seed}, "promotion": promotion} for seed in seeds
    ]
