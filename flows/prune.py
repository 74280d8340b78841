"""Retention: what nothing refers to any more is listed, and removed."""

from prefect import flow

from cl_core.retention import RetentionSpec
from flows.parameters import DryRun, Retention
from tasks.flow_run import FLOW
from tasks.pruned import Pruned
from tasks.retention import prune as prune_results


@flow(name="prune", **FLOW)
def prune(retention: Retention = RetentionSpec(), dry_run: DryRun = False) -> Pruned:
    """Remove what no alias, none of the newest versions and no running flow refers to."""
    return prune_results(retention, dry_run=dry_run)
