"""Which recipe a run was begun with, as its tags tell."""

import pytest

from tasks.runtime.provenance import _recipe, lineage


@pytest.mark.parametrize(
    ("tags", "recipe"),
    [
        (set(), ""),
        ({"recipe:short.json", "other"}, "short.json"),
        ({"recipe"}, "simclr-fashion.json"),
        ({"other"}, ""),
    ],
)
def test_a_recipe_is_named_by_the_command_or_by_the_deployment_of_its_name(tags, recipe, monkeypatch):
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__NAME", "simclr-fashion")
    assert _recipe(tags) == recipe


def test_outside_a_flow_the_code_is_known_and_no_run():
    found = lineage()
    assert (found.flow_run_id, found.flow_run_url, found.recipe) == ("", "", "")
    assert found.code_version and len(found.source_digest) == 64
