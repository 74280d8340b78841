"""Where a version comes from, as the run that registers it knows: the code, the recipe, and Prefect's flow run."""

from importlib.metadata import version

from prefect import runtime
from prefect.context import FlowRunContext
from prefect.utilities.urls import url_for

from cl_core.hashing import source_digest
from cl_core.refs import Lineage

RECIPE_TAG = "recipe:"
"""Before a recipe's name, the tag of the runs that were begun with it."""
_RECIPE_DEPLOYMENT = "recipe"  # The tag of the deployments that are named after their recipe.


def lineage() -> Lineage:
    """The lineage of what this run makes."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return Lineage(
        code_version=version("counterpoint"),
        source_digest=source_digest("cl_core", "tasks", "flows"),
        recipe=_recipe(set(run.tags) if run else set()),
        flow_run_id=str(run.id) if run else "",
        flow_run_url=(url_for(run) or "") if run else "",
    )


def _recipe(tags: set[str]) -> str:
    """File name of the recipe that a command was given, or that the deployment is named after; empty without one."""
    named = sorted(tag.removeprefix(RECIPE_TAG) for tag in tags if tag.startswith(RECIPE_TAG))
    if named:
        return named[0]
    deployment = runtime.deployment.name if _RECIPE_DEPLOYMENT in tags else None
    return f"{deployment}.json" if deployment else ""
