"""Recipes: what a file says reaches a component with the types that JSON gave it, and the command line wins."""

import json
from pathlib import Path

import pytest

from cl_core.errors import InputError
from cl_core.specs import DataSpec, EvaluationSpec, TrainingSpec
from flows.cli.app import make_app
from flows.cli.compat import Recipe
from flows.compare import compare

OPTIONS = {
    "count": 3,
    "noise": 0.5,
    "labelled": True,
    "name": "3",
    "nothing": None,
    "sizes": [20, "200", False],
    "deep": {"er": {"flag": False, "empty": {}, "none": []}},
}


DATA = {"name": "parts", "source": "image_folder"}


@pytest.fixture
def asked(tmp_path):
    """What `cl evaluate` would hand to its flow, for a recipe and arguments."""

    def ask(recipe, *arguments):
        recipe = {**recipe, "data": {**DATA, **recipe.get("data", {})}}
        (tmp_path / "recipe.json").write_text(json.dumps(recipe))
        app = make_app()
        app.config = (Recipe.read(tmp_path / "recipe.json"),)
        _, bound, _ = app.parse_args(["evaluate", *arguments], exit_on_error=False, print_error=False)
        return bound.arguments

    return ask


def test_options_keep_the_types_that_the_recipe_gives_them(asked):
    got = asked({"data": {"source_options": OPTIONS}, "evaluation": {"options": {"knn": OPTIONS}}})
    # As JSON: True == 1 in Python.
    assert json.dumps(got["data"].source_options) == json.dumps(OPTIONS)
    assert json.dumps(got["evaluation"].options) == json.dumps({"knn": OPTIONS})


def test_an_option_on_the_command_line_wins_and_leaves_the_others_of_the_recipe(asked):
    recipe = {"data": {"source": "synthetic", "source_options": {"count": 3, "labelled": False}, "image_size": 32}}
    data = asked(recipe, "--data.source-options.count", "7", "--data.image-size", "16")["data"]
    assert (data.source, data.source_options, data.image_size) == (
        "synthetic",
        {"count": "7", "labelled": False},
        16,
    )


def test_an_option_of_one_protocol_leaves_the_others_of_the_recipe(asked):
    recipe = {"evaluation": {"options": {"knn": {"ks": [5, 10], "temperature": 0.2}, "geometry": {"seed": 1}}}}
    got = asked(recipe, "--evaluation.options.knn.temperature", "0.1")["evaluation"].options
    assert got == {"knn": {"ks": [5, 10], "temperature": "0.1"}, "geometry": {"seed": 1}}


def test_options_given_whole_on_the_command_line_replace_those_of_the_recipe(asked):
    data = asked({"data": {"source_options": OPTIONS}}, "--data.source-options", '{"count": 7}')["data"]
    assert data.source_options == {"count": 7}


def test_a_recipe_without_anything_in_a_group_leaves_its_defaults(asked):
    assert asked({"data": {"source_options": {}}, "training": {}, "evaluation": {"options": {"knn": {}}}}) == {
        "data": DataSpec(**DATA),
        "training": TrainingSpec(),
        "evaluation": EvaluationSpec(options={"knn": {}}),
    }


def test_a_recipe_outside_the_folders_of_the_setting_is_not_read(tmp_path, monkeypatch):
    """A comparison can be started by anyone who may fill in its form."""
    monkeypatch.setenv("CL_DATA_ROOTS", str(tmp_path / "allowed"))
    monkeypatch.setenv("CL_HOME", str(tmp_path / "home"))
    (tmp_path / "secret.json").write_text('{"password": 1}')
    with pytest.raises(InputError, match=r"recipes: .*secret.json is outside the allowed folders: .*CL_DATA_ROOTS"):
        compare.fn([tmp_path / "secret.json"])


def test_every_recipe_gives_its_epochs():
    """A recipe that left them open would train longer or shorter as its data grow."""
    recipes = sorted((Path(__file__).parents[2] / "infra" / "recipes").glob("*.json"))
    assert len(recipes) == 25
    assert [recipe.name for recipe in recipes if "epochs" not in json.loads(recipe.read_text())["training"]] == []
