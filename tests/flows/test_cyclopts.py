"""Canaries: when one of these fails, cyclopts has changed, and a work-around in flows/cli/compat.py can go."""

from typing import Any

from cyclopts import App
from cyclopts.config import Dict
from pydantic import BaseModel


class Group(BaseModel):
    options: dict[str, Any] = {}


def asked(values, *arguments):
    """What cyclopts' own reader hands over of a group of values."""
    app = App(config=Dict({"group": {"options": values}}, use_commands_as_keys=False), result_action="return_value")

    @app.command
    def go(*, group: Group) -> Group:
        return group

    return app(["go", *arguments], exit_on_error=False).options


def test_cyclopts_still_hands_numbers_and_flags_inside_a_mapping_over_as_text():
    assert asked({"count": 3, "flag": True}) == {"count": "3", "flag": "True"}


def test_cyclopts_still_keeps_only_the_last_element_of_a_list_inside_a_mapping():
    assert asked({"sizes": [20, "200"]}) == {"sizes": "200"}


def test_cyclopts_still_drops_the_other_values_of_a_mapping_when_the_command_line_sets_one():
    assert asked({"count": 3, "flag": True}, "--group.options.count", "7") == {"count": "7"}
