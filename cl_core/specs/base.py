"""The base of all specs."""

from typing import Any

from cl_core.registry import Described

Options = dict[str, Any]
"""Options of a component; the component validates them."""


class Spec(Described):
    """Base of all specs."""
