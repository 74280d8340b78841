"""Types of parameters that flows share: their titles and help in forms and on the command line, and their bounds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import Field

from cl_core.retention.policy import RetentionSpec


def _shown(title: str, description: str, **bounds: Any) -> tuple[Parameter, Any]:
    """Return what the command line and what a form show of a parameter."""
    # Prefect overwrites the title and the description of a flow's own parameter, but not what the schema has extra.
    extra: dict[str, Any] = {"title": title, "description": description}
    return Parameter(help=description), Field(title=title, description=description, json_schema_extra=extra, **bounds)


_MODEL_NAME = "[A-Za-z0-9][A-Za-z0-9._-]*"
_MODEL_NAME_MAX = 100
ModelName = Annotated[
    str,
    *_shown(
        "Model name",
        "Name of the registered model. Letters, digits, dots, dashes and underscores.",
        pattern=rf"^{_MODEL_NAME}$",
        max_length=_MODEL_NAME_MAX,
    ),
]
ModelNameOrData = Annotated[
    str,
    *_shown(
        "Model name",
        "Name of the registered model; empty: the name of the dataset. Letters, digits, dots, dashes and underscores.",
        pattern=rf"^({_MODEL_NAME})?$",
        max_length=_MODEL_NAME_MAX,
    ),
]
Force = Annotated[bool, *_shown("Force", "Ignore existing results of ingestion and training, and make them again.")]
AllowNewData = Annotated[
    bool,
    *_shown(
        "Allow new data",
        "Retrain the model on data of another name, kind, size or number of channels than its versions record.",
    ),
]
Version = Annotated[int, *_shown("Version", "Number of the version that becomes the champion.", ge=1)]
VersionOrChampion = Annotated[int, *_shown("Version", "Number of the version; 0 is the champion.", ge=0)]
Output = Annotated[
    Path,
    *_shown(
        "Output file",
        "Parquet file to write; other embeddings in it are replaced. The same command resumes an interrupted run.",
    ),
]
Workers = Annotated[int, *_shown("Threads", "Threads that decode samples; 0 takes one for each CPU.", ge=0, le=1024)]
Reason = Annotated[
    str, *_shown("Reason", "Reason for the decision; kept with the version.", min_length=1, max_length=1000)
]
Retention = Annotated[RetentionSpec, Parameter(name="*")]
"""On the command line its fields are options of their own: there is nothing else to choose."""
RecipeName = Annotated[
    str,
    *_shown(
        "Recipe",
        "File name of the recipe that the parameters come from; recorded with the version.",
        max_length=200,
    ),
    Parameter(show=False, parse=False),
]
"""On the command line it follows from --recipe."""
DryRun = Annotated[bool, *_shown("Dry run", "List what would be removed, with sizes and reasons, and remove nothing.")]
Recipes = Annotated[
    list[Path],
    *_shown("Recipes", "JSON files with parameters of `retrain`, all on the same data."),
    Parameter(negative=()),
]


def _comma_separated(_: Any, tokens: Sequence[Any]) -> list[int]:
    """Read numbers such as 0,1,2 from the command line.

    Raises:
        ValueError: When one is not a whole number; cyclopts names the option.
    """
    text = ",".join(token.value for token in tokens)
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ValueError(f"wanted whole numbers with commas between them, such as 0,1,2; got {text!r}") from None


Seeds = Annotated[
    list[int],
    *_shown(
        "Seeds",
        "Train each recipe once with each of these seeds, such as 0,1,2, and show mean and spread. No version is "
        "promoted then. Empty: once, with the recipe's own seed.",
    ),
    Parameter(negative=(), converter=_comma_separated),
]
TableFile = Annotated[Path | None, *_shown("Table file", "File to write the table to, in Markdown; none if left out.")]
