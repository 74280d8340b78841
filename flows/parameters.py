"""Parameters that several flows and commands share."""

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

Force = Annotated[bool, _field("Force", "Read the source, and train, again even if the results stand.")]

Version = Annotated[int, _field("Version", "Number of the version that becomes the champion.", ge=1)]

VersionOrChampion = Annotated[
    int, _field("Version", "Number of the version; 0 is the champion, which users fetch.", ge=0)
]

Output = Annotated[Path, _field("Output file", "Parquet file to write; what it holds of other embeddings is replaced.")]

Workers = Annotated[int, _field("Workers", "Processes that decode images.", ge=1, le=1024)]

Reason = Annotated[str, _field("Reason", "Why, in words; kept with the version.", min_length=1, max_length=1000)]

Retention = Annotated[RetentionSpec, Parameter(name="*")]
"""On the command line its fields are options of their own: there is nothing else to choose."""

DryRun = Annotated[bool, _field("Dry run", "List what would be removed, with sizes and reasons, and remove nothing.")]
