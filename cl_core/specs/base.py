"""The base of all specs."""

from typing import Any

from pydantic import BaseModel, ConfigDict

Options = dict[str, Any]
"""Options of a component; the component validates them."""


class Spec(BaseModel):
    """Base of all specs: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
