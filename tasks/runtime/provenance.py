"""The origin of a version, as the run that registers it knows it: the code, the recipe and the flow run."""

from importlib.metadata import version

from prefect import runtime
from prefect.context import FlowRunContext
from prefect.utilities.urls import url_for

from cl_core.hashing import source_digest
from cl_core.refs import Lineage
from tasks.runtime.settings import Settings

RECIPE_TAG = "recipe:"
"""Before a recipe's name, a tag of runs that version 0.1.0 created."""
_RECIPE_DEPLOYMENT = "recipe"  # The tag of the deployments that are named after their recipe.


def lineage(recipe: str = "") -> Lineage:
    """Return the lineage of what this run makes.

    Args:
        recipe: File name of the recipe; empty: that of the deployment, if it is named after one.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return Lineage(
        code_version=version("counterpoint"),
        source_digest=source_digest("cl_core", "tasks", "flows"),
        recipe=recipe or _recipe(set(run.tags) if run else set()),
        flow_run_id=str(run.id) if run else "",
        flow_run_url=flow_run_url(str(run.id)) if run else "",
    )


def flow_run_url(flow_run_id: str) -> str:
    """Return the address of a flow run in the Prefect UI; empty where the run has no page that stays."""
    if not Settings.from_environment().prefect_api_url:
        return ""
    return url_for("flow-run", obj_id=flow_run_id) or ""


def _recipe(tags: set[str]) -> str:
    """Return the recipe that the tags of a run name; empty without one."""
    names = sorted(tag.removeprefix(RECIPE_TAG) for tag in tags if tag.startswith(RECIPE_TAG))
    if names:
        return names[0]
    deployment = runtime.deployment.name if _RECIPE_DEPLOYMENT in tags else None
    return f"{deployment}.json" if deployment else ""
