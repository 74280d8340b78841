"""Types of parameters that flows share: their titles and help in forms and on the command line, and their bounds."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import Field

from cl_core.retention.policy import RetentionSpec

_MODEL_NAME = "Name of the registered model. Letters, digits, dots, dashes and underscores."
_FORCE = "Ignore existing results of ingestion and training, and make them again."
_VERSION = "Number of the version that becomes the champion."
_VERSION_OR_CHAMPION = "Number of the version; 0 is the champion."
_OUTPUT = "Parquet file to write. It is replaced, except by the same command, which resumes after an interruption."
_WORKERS = "Processes that decode images."
_REASON = "Reason for the decision; kept with the version."
_DRY_RUN = "List what would be removed, with sizes and reasons, and remove nothing."
_RECIPE_NAME = "File name of the recipe that the parameters come from; recorded with the version."
_RECIPES = "JSON files with parameters of `retrain`, all on the same data."
_TABLE = "File to write the table to, in Markdown; none if left out."


def _field(title: str, description: str, **bounds: Any) -> Any:
    # Prefect overwrites the title and the description of a flow's own parameter, but not what the schema has extra.
    shown: dict[str, Any] = {"title": title, "description": description}
    return Field(title=title, description=description, json_schema_extra=shown, **bounds)


ModelName = Annotated[
    str,
    Parameter(help=_MODEL_NAME),
    _field("Model name", _MODEL_NAME, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100),
]

Force = Annotated[bool, Parameter(help=_FORCE), _field("Force", _FORCE)]

Version = Annotated[int, Parameter(help=_VERSION), _field("Version", _VERSION, ge=1)]

VersionOrChampion = Annotated[int, Parameter(help=_VERSION_OR_CHAMPION), _field("Version", _VERSION_OR_CHAMPION, ge=0)]

Output = Annotated[Path, Parameter(help=_OUTPUT), _field("Output file", _OUTPUT)]

Workers = Annotated[int, Parameter(help=_WORKERS), _field("Workers", _WORKERS, ge=1, le=1024)]

Reason = Annotated[str, Parameter(help=_REASON), _field("Reason", _REASON, min_length=1, max_length=1000)]

Retention = Annotated[RetentionSpec, Parameter(name="*")]
"""On the command line its fields are options of their own: there is nothing else to choose."""

RecipeName = Annotated[str, Parameter(show=False, parse=False), _field("Recipe", _RECIPE_NAME, max_length=200)]
"""On the command line it follows from --recipe."""

DryRun = Annotated[bool, Parameter(help=_DRY_RUN), _field("Dry run", _DRY_RUN)]

Recipes = Annotated[list[Path], Parameter(help=_RECIPES), _field("Recipes", _RECIPES)]

TableFile = Annotated[Path | None, Parameter(help=_TABLE), _field("Table file", _TABLE)]
