"""What is declared for Prefect: complete forms, queues by model, old names, and refusals before anything starts."""

import re
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.client.schemas.responses import DeploymentResponse
from prefect.flows import load_flow_from_entrypoint

from cl_core.errors import InputError
from flows.deployments.apply import MARK, made_by_cl_up, plan_deployments
from flows.deployments.old_names import ENTRYPOINTS_0_1, RENAMED_FLOWS, measure
from flows.deployments.schema import DEFAULT, Declaration

ROOT = Path(__file__).parents[2]


def written(folder: Path, *deployments: str) -> Path:
    file = folder / "prefect.yaml"
    file.write_text("work_pool: pool\ndeployments:\n" + "".join(f"  - {one}\n" for one in deployments))
    return file


def planned(file: Path) -> list[Any]:
    return plan_deployments(Declaration.read(file), file.parent)


@pytest.fixture(scope="module")
def own() -> dict[str, Any]:
    """The deployments that the project itself declares."""
    return {f"{one.flow_name}/{one.name}": one for one in planned(ROOT / DEFAULT)}


def test_the_projects_own_declaration_has_a_nightly_a_free_one_and_each_recipe(own: dict[str, Any]) -> None:
    assert {
        *("retrain/nightly", "retrain/free", "ingest/ingest", "embed/embed", "evaluate-model/evaluate-model"),
        *("promote/promote", "rollback/rollback"),
    } <= set(own)
    # The images of CIFAR-10 come with no package.
    every = {recipe.stem for recipe in (ROOT / "infra" / "recipes").glob("*.json")}
    recipes = {recipe for recipe in every if not recipe.endswith("-cifar10")}
    assert {"simclr-fashion", "simclr-fashion-vectors", "siamese-colors"} <= recipes
    assert {f"retrain/{recipe}" for recipe in recipes} <= set(own)
    (nightly,) = own["retrain/nightly"].schedules
    assert nightly.schedule.cron == "0 3 * * *"
    assert not own["retrain/free"].schedules
    (pruning,) = own["prune/nightly"].schedules
    assert pruning.schedule.cron == "0 5 * * *"
    assert own["prune/nightly"].parameters["retention"]["keep_versions"] == 5


def test_a_form_is_complete_whatever_the_recipe_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "short.json").write_text('{"model_name": "parts", "training": {"method": "moco_v2"}}')
    (one,) = planned(written(tmp_path, "{name: short, flow: flows.retrain.retrain, recipe: short.json}"))
    assert one.parameters["model_name"] == "parts"
    assert one.parameters["training"]["method"] == "moco_v2"
    assert one.parameters["training"]["batch_size"] == 256
    assert one.parameters["promotion"] == {"automatic": True, "score": "linear_probe.accuracy", "tolerance": 0.0}
    assert one.parameters["force"] is False


def test_a_form_asks_for_its_data_and_a_schedule_has_to_have_it(tmp_path: Path) -> None:
    data = "data: {name: parts, source: image_folder}"
    nightly = "schedules: [{slug: nightly, cron: '0 3 * * *'}]"
    for flow in ("flows.retrain.retrain", "flows.stages.ingest", "flows.evaluate_model.evaluate_model"):
        (open_form,) = planned(written(tmp_path, f"{{name: a, flow: {flow}}}"))
        schema = open_form._parameter_openapi_schema
        assert "data" in schema.required and "data" not in open_form.parameters
        assert schema.definitions["DataSpec"]["required"] == ["name", "source"]
        (scheduled,) = planned(written(tmp_path, f"{{name: a, flow: {flow}, parameters: {{{data}}}, {nightly}}}"))
        assert scheduled.parameters["data"]["name"] == "parts"
        with pytest.raises(
            InputError, match=r"'a' has a schedule, but neither its recipe nor its parameters set data,"
        ):
            planned(written(tmp_path, f"{{name: a, flow: {flow}, {nightly}}}"))


def test_parameters_win_over_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "short.json").write_text('{"model_name": "parts"}')
    declared = "{name: short, flow: flows.retrain.retrain, recipe: short.json, parameters: {model_name: wholes}}"
    (one,) = planned(written(tmp_path, declared))
    assert one.parameters["model_name"] == "wholes"


def test_retrainings_of_one_model_share_a_queue_and_others_have_none(tmp_path: Path) -> None:
    deployments = planned(
        written(
            tmp_path,
            "{name: a, flow: flows.retrain.retrain, parameters: {model_name: parts}}",
            "{name: b, flow: flows.retrain.retrain, parameters: {model_name: parts}}",
            "{name: c, flow: flows.retrain.retrain, parameters: {model_name: wholes}}",
            "{name: d, flow: flows.champion.promote}",
        )
    )
    assert [one.work_queue_name for one in deployments] == ["model-parts", "model-parts", "model-wholes", None]


def test_a_form_that_is_open_to_any_model_occupies_no_models_queue(tmp_path: Path, own: dict[str, Any]) -> None:
    """Prefect takes the queue from the deployment: a run for emoji kept the runs of fashion-mnist waiting."""
    data = "parameters: {data: {name: parts, source: image_folder}}"
    nightly = "schedules: [{slug: nightly, cron: '0 3 * * *'}]"
    deployments = planned(
        written(
            tmp_path,
            "{name: a, flow: flows.retrain.retrain}",
            f"{{name: b, flow: flows.retrain.retrain, {data}}}",
            f"{{name: c, flow: flows.retrain.retrain, {data}, {nightly}}}",
        )
    )
    # The last one runs by itself, always for the model named after its data.
    assert [one.work_queue_name for one in deployments] == [None, None, "model-parts"]
    assert [one.parameters["model_name"] for one in deployments] == ["", "", "parts"]
    queues = [own[name].work_queue_name for name in ("retrain/free", "retrain/nightly")]
    assert queues == [None, "model-fashion-mnist"]


def test_a_form_with_the_queue_of_a_model_takes_no_other_model(own: dict[str, Any]) -> None:
    """Its run would wait in the queue of that model, and keep the runs of that model waiting."""
    for name, one in own.items():
        model = one._parameter_openapi_schema.properties.get("model_name", {})
        if one.work_queue_name is None:
            assert "enum" not in model, name
        else:
            assert model["enum"] == [one.work_queue_name.removeprefix("model-")], name
            assert (model["readOnly"], one.parameters["model_name"]) == (True, model["enum"][0]), name


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ("{name: a, flow: flows.retrain.nothing}", "there is no flow 'flows.retrain.nothing'"),
        ("{name: a, flow: flows.recipes.recipe_values}", "is a function, not a flow"),
        ("{name: a, flow: flows.retrain.retrain, recipe: none.json}", "there is no file"),
        ("{recipes: none-*.json, flow: flows.retrain.retrain}", "matches 'none-*.json'"),
        ("{name: a, flow: flows.retrain.retrain, parameters: {training: {epochs: 0}}}", "epochs"),
        ("{name: a, flow: flows.retrain.retrain, parameters: {colour: red}}", "colour"),
        ("{name: a, flow: flows.retrain.retrain, parameters: {data: {name: parts}}}", "data.source: Field required"),
        ("{name: a, flow: flows.retrain.retrain, schedules: [{slug: s}]}", "either cron or interval_s"),
        ("{name: a, flow: flows.retrain.retrain, cron: '* * * * *'}", "cron"),
        (
            "{name: a, flow: flows.retrain.retrain, schedules: [{slug: s, cron: '0 25 * * *'}]}",
            "deployment 'a': schedule 's': Invalid cron string: \"0 25 * * *\"; correct it",
        ),
        (
            "{name: a, flow: flows.retrain.retrain, schedules: [{slug: s, cron: '0 3 * * *', timezone: Mars/Base}]}",
            'Invalid timezone: "Mars/Base"',
        ),
        (
            "{name: a, flow: flows.retrain.retrain, schedules: [{slug: s, interval_s: 60, timezone: Mars/Base}]}",
            'Invalid timezone: "Mars/Base"',
        ),
        ("{flow: flows.retrain.retrain}", "give either name, or recipes, a pattern"),
        ("{name: a, flow: ", "is not readable as YAML"),
    ],
)
def test_what_cannot_be_is_refused_and_named(tmp_path: Path, declared: str, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        planned(written(tmp_path, declared))


def test_a_declaration_of_another_encoding_is_refused_and_a_byte_order_mark_is_not(tmp_path: Path) -> None:
    path = written(tmp_path, "{name: a, flow: flows.retrain.retrain, description: für nachts}")
    text = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="is not readable as YAML: 'utf-8' codec"):
        Declaration.read(path)
    path.write_text(text, encoding="utf-8-sig")
    assert Declaration.read(path).deployments[0].description == "für nachts"


def test_a_declaration_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"there is no file nowhere\.yaml; the project's own is infra/prefect\.yaml"):
        Declaration.read(Path("nowhere.yaml"))


def test_each_deployment_carries_the_mark_by_which_it_is_removed_later(tmp_path: Path) -> None:
    (one,) = planned(written(tmp_path, "{name: a, flow: flows.retrain.retrain, tags: [theirs]}"))
    assert one.tags == ["theirs", MARK]


@pytest.mark.parametrize(
    ("tags", "pool", "entrypoint", "ours"),
    [
        ([MARK], "another", "their.flows.nightly", True),
        ([], "pool", "flows.ingest.ingest", True),
        ([], "pool", "flows.retrain.retrain", True),
        # Of another work pool, or of a flow that 0.1.0 did not have: somebody else made it.
        ([], "another", "flows.retrain.retrain", False),
        ([], "pool", "their.flows.nightly", False),
        (["theirs"], "pool", "flows/retrain.py:retrain", False),
        ([], "pool", None, False),
    ],
)
def test_a_deployment_is_ours_by_its_mark_or_as_0_1_0_made_it(
    tags: list[str], pool: str, entrypoint: str | None, ours: bool
) -> None:
    flow_id = "00000000-0000-0000-0000-000000000001"
    values = {"tags": tags, "work_pool_name": pool, "entrypoint": entrypoint}
    deployment = DeploymentResponse.model_validate({"name": "nightly", "flow_id": flow_id, **values})
    assert made_by_cl_up(deployment, "pool") is ours


FLOWS_0_1 = """
    flows.retrain.retrain flows.ingest.ingest flows.validate.validate flows.pretrain.pretrain flows.evaluate.evaluate
    flows.register.register flows.report.report flows.embed.embed flows.measure.measure flows.promote.promote
    flows.promote.rollback flows.prune.prune flows.compare.compare
"""


def test_every_flow_of_0_1_0_still_runs_under_its_old_name() -> None:
    assert set(FLOWS_0_1.split()) == ENTRYPOINTS_0_1
    for old in ENTRYPOINTS_0_1:
        assert isinstance(load_flow_from_entrypoint(RENAMED_FLOWS.get(old, old)), Flow), old


@pytest.mark.parametrize("old", RENAMED_FLOWS)
def test_a_declaration_with_the_old_name_of_a_flow_is_applied_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str
) -> None:
    (one,) = planned(written(tmp_path, f"{{name: mine, flow: {old}}}"))
    assert one.entrypoint == RENAMED_FLOWS[old]
    # A deployment is found by the name of its flow, too.
    assert one.flow_name == old.rpartition(".")[2]
    new = "flows.evaluate_model.evaluate_model" if old.endswith(".measure") else RENAMED_FLOWS[old]
    warning = " ".join(capsys.readouterr().err.split())
    assert f"flow {old} is renamed to {new}; the old name goes with the next release" in warning


def test_the_old_deployment_of_measure_has_the_form_of_evaluate_model(tmp_path: Path) -> None:
    old, new = planned(
        written(
            tmp_path,
            "{name: evaluate, flow: flows.deployments.old_names.measure}",
            "{name: evaluate-model, flow: flows.evaluate_model.evaluate_model}",
        )
    )
    assert (old.flow_name, new.flow_name) == ("measure", "evaluate-model")
    assert old.parameters == new.parameters
    assert old._parameter_openapi_schema == new._parameter_openapi_schema
    assert measure.name == "measure"
