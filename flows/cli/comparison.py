"""The commands that put things side by side: recipes by their scores, losses by other people's code."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli.app import app, prepare


@app.command
def compare(
    *recipes: Path, table: Annotated[Path | None, Parameter(help="File to write the table to.")] = None
) -> None:
    """Retrain each recipe whose result does not stand, and print all scores in one table, in Markdown.

    Args:
        recipes: JSON files with the parameters of `cl retrain`, on the same data.
    """
    prepare()
    from cl_core import artifact_dir
    from cl_core.report.comparison import comparison_markdown
    from flows.compare import compare as flow

    text = comparison_markdown(flow(list(recipes)))
    if table is not None:
        artifact_dir.write_text(table, text)
    print(text, end="")


@app.command
def parity() -> None:
    """Compare each loss and method part with the independent libraries that are installed; 1 when one differs."""
    prepare(server=False)
    from parity.checks import ELSEWHERE, checks, compare

    from flows.cli.render import show_parity

    findings = [compare(check) for check in checks()]
    show_parity(findings, ELSEWHERE)
    if any(finding.verdict == "differs" for finding in findings):
        sys.exit(1)
