"""Retention: what nothing refers to any more is listed, and removed."""

from prefect import flow

from cl_core.retention.policy import RetentionSpec
from flows.parameters import DryRun, Retention
from tasks.prune_result import PruneResult
from tasks.pruning import prune as prune_results
from tasks.runtime.hooks import FLOW


@flow(name="prune", **FLOW)
def prune(retention: Retention = RetentionSpec(), dry_run: DryRun = False) -> PruneResult:
    """Remove what no alias, none of the newest versions and no running flow refers to."""
    return prune_results(retention, dry_run=dry_run)
