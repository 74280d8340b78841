"""The parameters of a flow's form, and that a recipe means the same on the command line as in Prefect."""

import json
import os
from functools import cache
from pathlib import Path

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validation

from cl_core.training.components import assemble
from flows.champion import promote, rollback
from flows.cli.app import make_app
from flows.cli.compat import Recipe
from flows.embed import embed
from flows.evaluate_model import evaluate_model
from flows.prune import prune
from flows.retrain import retrain
from flows.stages import evaluate, ingest, pretrain, register, report, validate

GOLDEN = Path(__file__).parents[1] / "golden"
RECIPES = sorted((Path(__file__).parents[2] / "infra" / "recipes").glob("*.json"))
FLOWS = {
    flow.name: flow
    for flow in (
        *(retrain, ingest, validate, pretrain, evaluate, register, report, promote, rollback),
        *(embed, evaluate_model, prune),
    )
}


@cache
def schema_of(name):
    return parameter_schema(FLOWS[name]).model_dump_for_openapi()


def leaves(schema, definitions, path=""):
    """Each field that a person fills in, with its full path."""
    for name, field in schema.items():
        here = f"{path}{name}"
        references = [part["$ref"] for part in [field, *field.get("allOf", [])] if "$ref" in part]
        if references:
            group = definitions[references[0].rpartition("/")[2]]
            yield from leaves(group["properties"], definitions, f"{here}.")
        else:
            yield here, field


def test_the_forms_of_all_flows_are_the_golden_ones():
    """A change here is a change for everyone who has a deployment, a recipe or a script."""
    offenders = []
    for name in FLOWS:
        golden, schema = GOLDEN / f"{name}.json", schema_of(name)
        if os.environ.get("CL_UPDATE_GOLDEN") == "1":
            golden.parent.mkdir(exist_ok=True)
            golden.write_text(json.dumps(schema, indent=1, sort_keys=True) + "\n")
        if not golden.is_file() or json.loads(golden.read_text()) != json.loads(json.dumps(schema)):
            offenders.append(name)
    assert offenders == [], (
        "the parameters of these flows have changed; if that is meant, run "
        "CL_UPDATE_GOLDEN=1 pytest -n0 tests/flows/test_parameter_schemas.py, read the difference, and say it in "
        "CHANGELOG.md"
    )


def test_every_golden_file_belongs_to_a_flow():
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(FLOWS)


def fields_of(name):
    schema = schema_of(name)
    fields = dict(leaves(schema["properties"], schema.get("definitions", {})))
    assert fields, name
    return {f"{name}: {path}": field for path, field in fields.items()}


def test_every_field_of_a_form_has_a_title_and_a_description():
    offenders = {
        path: field
        for name in FLOWS
        for path, field in fields_of(name).items()
        if not field.get("title") or not field.get("description", "").endswith(".")
    }
    assert offenders == {}


def test_the_form_of_retrain_has_every_group():
    schema = schema_of("retrain")
    groups = {path.partition(".")[0] for path, _ in leaves(schema["properties"], schema["definitions"])}
    assert groups == {
        "model_name",
        "data",
        "training",
        "evaluation",
        "promotion",
        "compute",
        "force",
        "allow_new_data",
        "recipe",
    }


def test_no_field_is_of_a_kind_that_a_form_shows_as_raw_json_but_options():
    offenders = {
        path: field
        for name in FLOWS
        for path, field in fields_of(name).items()
        if field.get("type") in (None, "object") and not path.endswith("options")
    }
    assert offenders == {}


def test_every_flow_has_a_description():
    assert [name for name, flow in FLOWS.items() if not flow.description.strip().endswith(".")] == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_asks_the_command_for_what_it_asks_the_flow(recipe):
    """What a deployment passes on as JSON, and what the command reads from the file, is one training."""
    values = json.loads(recipe.read_text())
    app = make_app()
    app.config = (Recipe.read(recipe),)
    _, bound, _ = app.parse_args(["retrain"], exit_on_error=False, print_error=False)
    asked = retrain.validate_parameters(values)
    for name in values:
        ours, theirs = bound.arguments[name], asked[name]
        if name == "training":
            ours, theirs = assemble(ours).spec, assemble(theirs).spec
        assert ours == theirs


def test_prefect_takes_epochs_left_open_and_refuses_none_at_all():
    """As the server does when a run is created: the form sends null where its box was left empty."""
    for epochs, refusals in ((None, []), (3, []), (0, ["0 is less than the minimum of 1"])):
        asked = {"data": {"name": "parts", "source": "synthetic"}, "training": {"epochs": epochs}}
        errors = validation.validate(asked, schema_of("retrain"))
        assert [error.message for error in errors] == refusals
