"""Parameters that several flows and commands share."""

from typing import Annotated

from pydantic import Field

ModelName = Annotated[
    str,
    Field(
        title="Model name",
        description="Name of the registered model. Letters, digits, dots, dashes and underscores.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
    ),
]

Force = Annotated[
    bool,
    Field(title="Force", description="Read the source, and train, again even if the results stand."),
]

Version = Annotated[int, Field(title="Version", description="Number of the version that becomes the champion.", ge=1)]

Reason = Annotated[
    str, Field(title="Reason", description="Why, in words; kept with the version.", min_length=1, max_length=1000)
]
