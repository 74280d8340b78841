"""Retention: what nothing refers to any more is listed, and removed."""

from prefect import flow

from cl_core.retention import RetentionSpec
from flows.parameters import DryRun, Retention
from tasks.pruned import Pruned
from tasks.retention import prune as prune_results


@flow(name="prune", persist_result=True, result_serializer="json")
def prune(retention: Retention = RetentionSpec(), dry_run: DryRun = False) -> Pruned:  # noqa: B008
    """Remove what no alias, none of the newest versions and no running flow refers to."""
    return prune_results(retention, dry_run=dry_run)
