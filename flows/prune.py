"""Remove the results that nothing refers to any more."""

from prefect import flow

import tasks.pruning
from cl_core.retention.policy import RetentionSpec
from flows.parameters import DryRun, Retention
from tasks.pruning import PruneResult
from tasks.runtime.hooks import FLOW


@flow(name="prune", **FLOW)
def prune(*, retention: Retention = RetentionSpec(), dry_run: DryRun = False) -> PruneResult:
    """Remove results that no alias, recent version or running flow needs."""
    return tasks.pruning.prune(retention, dry_run=dry_run)
