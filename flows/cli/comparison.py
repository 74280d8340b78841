"""Compare recipes by their scores."""

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
