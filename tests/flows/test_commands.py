"""The table of commands against the flows and functions that it names, and the renderer of each result."""

import importlib
import inspect
import json
import re
import types
import typing

import pytest
from prefect import Flow
from pydantic import BaseModel

from cl_core.refs import Ref
from cl_core.specs import DataSpec
from flows.cli import commands, render
from flows.cli.app import make_app
from flows.cli.commands import COMMANDS
from flows.cli.operations import DoctorReport
from tasks.runtime.inventory import Diagnosis

every_command = pytest.mark.parametrize("name", COMMANDS)


def target(name):
    module, _, attribute = COMMANDS[name].target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def result_type(name):
    return typing.get_type_hints(target(name).fn if COMMANDS[name].is_flow else target(name))["return"]


def test_every_summary_is_the_first_paragraph_of_the_docstring():
    docstrings = {name: " ".join(inspect.getdoc(target(name)).partition("\n\n")[0].split()) for name in COMMANDS}
    assert {name: command.summary for name, command in COMMANDS.items()} == docstrings


def test_a_summary_is_imperative_and_fits_a_line():
    for name, command in COMMANDS.items():
        assert re.match(r"[A-Z][a-z]+\b(?<!s)(?<!ing)(?<!ied)", command.summary), name
        assert command.summary.endswith(".") and len(command.summary) <= 105, name


@every_command
def test_a_command_is_what_the_table_says_and_is_called_as_its_function(name):
    assert isinstance(target(name), Flow) is COMMANDS[name].is_flow
    function = COMMANDS[name].target.partition(":")[2]
    assert function.replace("_", "-") == name
    if COMMANDS[name].is_flow:
        assert target(name).name == name


def test_every_result_has_a_renderer_and_a_command_without_one_is_listed():
    types_of_results = {name: result_type(name) for name in COMMANDS}
    without = {name for name, result in types_of_results.items() if result is types.NoneType}
    assert without == commands.WITHOUT_RESULT
    names = {result.__name__ for name, result in types_of_results.items() if name not in without}
    assert names == {*render.RENDERERS, "RetrainResult"}


def test_every_result_is_a_model_so_that_it_can_be_printed_as_json():
    for name in COMMANDS.keys() - commands.WITHOUT_RESULT:
        assert issubclass(result_type(name), BaseModel), name


def test_a_command_with_its_data_alone_asks_for_the_defaults_of_the_flow():
    words = ["retrain", "--data.name", "parts", "--data.source", "image_folder"]
    command, bound, _ = make_app().parse_args(words, exit_on_error=False, print_error=False)
    assert command is target("retrain")
    assert bound.arguments["data"] == DataSpec(name="parts", source="image_folder")
    for name, parameter in inspect.signature(command.fn).parameters.items():
        if name == "data":
            continue
        assert bound.arguments.get(name, parameter.default) == parameter.default


def test_old_names_lead_to_commands_and_options_that_exist():
    app = make_app()
    assert set(commands.RENAMED_COMMANDS.values()) <= COMMANDS.keys()
    assert not commands.RENAMED_COMMANDS.keys() & COMMANDS.keys()
    for name, options in commands.RENAMED_OPTIONS.items():
        existing = {option for argument in app[name].assemble_argument_collection() for option in argument.names}
        assert set(options.values()) <= existing and not options.keys() & existing


class Numbers(Ref):
    """A result with what JSON has no words for."""

    count: int
    ratio: float


def test_json_is_one_document_and_has_null_for_what_is_not_finite(capsys):
    assert render.render_json(Numbers(count=3, ratio=float("nan"))) == 0
    assert json.loads(capsys.readouterr().out) == {"count": 3, "ratio": None}


def test_problems_that_remain_are_the_exit_code_one(capsys):
    problem = Diagnosis("a lock [red]is[/] held", "/home", "removes it", repair=lambda: None)
    remaining = DoctorReport(found=[problem], fixed=[], problems=[problem])
    assert render.render(remaining, seconds=0) == 1
    shown = capsys.readouterr().out
    assert "a lock [red]is[/] held" in shown and "`cl doctor --fix` removes it" in shown
    assert render.render_json(remaining) == 1
    assert json.loads(capsys.readouterr().out)["problems"][0]["fixable"] is True
    fixed = DoctorReport(found=[problem], fixed=[problem], problems=[])
    assert render.render(fixed, seconds=0) == 0
    shown = capsys.readouterr().out
    assert "fixed: a lock [red]is[/] held (/home): removes it\n" in shown and shown.endswith("No problems found.\n")
