"""The parameters that several flows share."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import Field

from cl_core.retention.policy import RetentionSpec


def _field(title: str, description: str, **bounds: Any) -> Any:
    # Prefect overwrites the title and the description of a flow's own parameter, but not what the schema has extra.
    shown: dict[str, Any] = {"title": title, "description": description}
    return Field(title=title, description=description, json_schema_extra=shown, **bounds)


ModelName = Annotated[
    str,
    _field(
        "Model name",
        "Name of the registered model. Letters, digits, dots, dashes and underscores.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
    ),
]

Force = Annotated[bool, _field("Force", "Read the source and train again, even if the results are up to date.")]

Version = Annotated[int, _field("Version", "Number of the version that becomes the champion.", ge=1)]

VersionOrChampion = Annotated[
    int, _field("Version", "Number of the version; 0 is the champion, which users fetch.", ge=0)
]

Output = Annotated[Path, _field("Output file", "Parquet file to write; other embeddings in it are replaced.")]

Workers = Annotated[int, _field("Workers", "Processes that decode images.", ge=1, le=1024)]

Reason = Annotated[
    str, _field("Reason", "Why the champion changes; recorded with the version.", min_length=1, max_length=1000)
]

Retention = Annotated[RetentionSpec, Parameter(name="*")]
"""On the command line its fields are options of their own, since there is nothing else to choose."""

RecipeName = Annotated[
    str,
    _field(
        "Recipe", "File name of the recipe that the parameters come from; recorded with the version.", max_length=200
    ),
    Parameter(show=False, parse=False),
]
"""On the command line it follows from --recipe."""

DryRun = Annotated[bool, _field("Dry run", "List what would be removed, with sizes and reasons, and remove nothing.")]
