"""The command that removes what nothing refers to any more."""

from cl_core.retention.policy import RetentionSpec
from flows.cli.app import app, check_addressed, prepare
from flows.parameters import DryRun, Retention


@app.command
def prune(*, retention: Retention = RetentionSpec(), dry_run: DryRun = False) -> None:
    """Remove what no alias, none of the newest versions and no running flow refers to; no version itself.

    Args:
        dry_run: Print what would be removed, with sizes and reasons, and remove nothing.
    """
    check_addressed()
    prepare()
    from flows.cli.render import show_pruned
    from flows.prune import prune as flow

    show_pruned(flow(retention, dry_run))
