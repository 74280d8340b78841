"""Registries: names without imports, plug-ins without forks, and errors that say the whole path."""

import json
import math
import os
import subprocess
import sys
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError

from cl_core import registry
from cl_core.errors import SpecError
from cl_core.registry import ENCODERS, EVALUATIONS, LOSSES, METHODS, SOURCES, VIEWS, Component, NameIn, Registry

REGISTRIES = {
    "source": SOURCES,
    "view policy": VIEWS,
    "encoder": ENCODERS,
    "loss": LOSSES,
    "method": METHODS,
    "evaluation": EVALUATIONS,
}
EVERY_COMPONENT = [(kind, name) for kind, found in REGISTRIES.items() for name in found.names()]
every_component = pytest.mark.parametrize(("kind", "name"), EVERY_COMPONENT)


def run(code, **environment):
    """What a fresh process that runs this code prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_names_are_known_without_importing_a_component_or_torch():
    names, imported = run(
        "import json, sys, cl_core.specs\n"
        "from cl_core.registry import ENCODERS, EVALUATIONS, LOSSES, METHODS, SOURCES, VIEWS\n"
        "names = [r.names() for r in (SOURCES, VIEWS, ENCODERS, LOSSES, METHODS, EVALUATIONS)]\n"
        "cl_core.specs.TrainingSpec.model_json_schema()\n"
        "print(json.dumps([names, sorted(sys.modules)]))"
    )
    assert names == [found.names() for found in REGISTRIES.values()]
    assert not {"torch", "numpy", "pyarrow", "prefect", "ray", "mlflow"} & set(imported)
    packages = tuple(found.package for found in REGISTRIES.values())
    assert not [module for module in imported if module.startswith(packages)]


def test_what_this_project_brings_is_listed():
    assert {kind: set(found.names()) for kind, found in REGISTRIES.items()}.items() >= {
        "source": {"fashion_mnist", "image_folder", "parquet", "snapshot", "synthetic"},
        "encoder": {"mlp", "resnet18", "resnet50", "resnet_small"},
    }.items()
    assert "simclr" in VIEWS.names() and "simclr" in METHODS.names() and "info_nce" in LOSSES.names()
    assert {"geometry", "knn", "linear_probe"} <= set(EVALUATIONS.names())


@every_component
def test_the_name_of_a_component_is_that_of_its_module(kind, name):
    component = REGISTRIES[kind].get(name, field="field")
    assert component.__module__ == f"{REGISTRIES[kind].package}.{name}"


@every_component
def test_a_component_has_a_docstring_and_each_option_a_title_a_description_and_a_default(kind, name):
    component = REGISTRIES[kind].get(name, field="field")
    assert "__doc__" in vars(component) and component.__doc__.strip()
    for option, field in component.model_fields.items():
        assert field.title and field.description, f"{name}.{option}"
        assert field.description.endswith("."), f"{name}.{option}: {field.description}"
        assert field.default is not None and not field.is_required(), f"{name}.{option}"


@every_component
def test_a_component_built_without_options_is_frozen_and_survives_json(kind, name):
    component = REGISTRIES[kind].build(name, {}, field="field")
    again = REGISTRIES[kind].build(name, json.loads(component.model_dump_json()), field="field")
    assert again == component
    for option in type(component).model_fields:
        with pytest.raises(ValueError, match="frozen"):
            setattr(component, option, getattr(component, option))


@pytest.mark.parametrize("kind", REGISTRIES)
def test_an_unknown_name_is_refused_with_the_names_there_are(kind):
    found = REGISTRIES[kind]
    with pytest.raises(SpecError) as caught:
        found.get("nothing_of_the_sort", field="group.field")
    listed = ", ".join(found.names())
    assert str(caught.value) == (
        f"group.field: there is no {kind} named 'nothing_of_the_sort'; choose one of: {listed}"
    )


def test_a_name_nearly_right_is_suggested():
    with pytest.raises(SpecError, match=r"there is no loss named 'infonce' \(did you mean 'info_nce'\?\); choose one"):
        LOSSES.build("infonce", {}, field="training.loss")


@pytest.mark.parametrize("name", ["_torchvision", "operations", "__init__", ""])
def test_private_modules_and_sub_packages_are_no_components(name):
    for found in REGISTRIES.values():
        assert name not in found.names()


def test_an_unknown_option_is_refused_with_its_path_and_the_options_there_are():
    with pytest.raises(SpecError) as caught:
        LOSSES.build("info_nce", {"tau": 0.1}, field="training.loss")
    assert str(caught.value) == ("training.loss_options.tau: there is no such option; choose from: temperature, tile")


def test_every_wrong_option_is_named_with_what_was_wanted_and_what_came():
    with pytest.raises(SpecError) as caught:
        METHODS.build("simclr", {"projector_hidden": 0, "projector_features": "many"}, field="training.method")
    assert str(caught.value) == (
        "training.method_options.projector_hidden: input should be greater than or equal to 1; got 0; "
        "training.method_options.projector_features: input should be a valid integer, "
        "unable to parse string as an integer; got 'many'"
    )


@pytest.mark.parametrize("wrong", [math.nan, "warm", None, [0.1]])
def test_an_option_of_the_wrong_kind_is_refused_with_its_path(wrong):
    with pytest.raises(SpecError, match=r"^training\.loss_options\.temperature: "):
        LOSSES.build("info_nce", {"temperature": wrong}, field="training.loss")


def test_an_option_inside_a_list_is_named_with_its_place():
    knn = EVALUATIONS.get("knn", field="evaluation.protocols")
    with pytest.raises(ValidationError) as caught:
        knn(ks=[20, 0])
    sentence = registry.explain(caught.value, "evaluation.options.knn", [])
    assert sentence == "evaluation.options.knn.ks.1: input should be greater than or equal to 1; got 0"


def test_two_components_of_one_name_are_refused():
    found = Registry("loss", "cl_core.losses")

    @found.register("twice")
    class First(Component):
        pass

    class Second(Component):
        __module__ = "elsewhere"

    with pytest.raises(SpecError, match=f"loss 'twice' exists twice: as {__name__} and as elsewhere; rename"):
        found.register("twice")(Second)
    assert found.get("twice", field="field") is First


def test_a_module_imported_again_may_register_again():
    again = run(
        "import importlib, json\n"
        "from cl_core.losses import info_nce\n"
        "from cl_core.registry import LOSSES\n"
        "first, again = info_nce.InfoNCE, importlib.reload(info_nce).InfoNCE\n"
        "print(json.dumps([first is not again, LOSSES.get('info_nce', field='training.loss') is again]))"
    )
    assert again == [True, True]


def test_a_field_that_holds_a_name_is_a_dropdown_in_the_schema_and_checked():
    class Spec(BaseModel):
        loss: Annotated[str, NameIn(LOSSES)] = Field("info_nce", title="Loss")

    assert Spec.model_json_schema()["properties"]["loss"] == {
        "default": "info_nce",
        "enum": LOSSES.names(),
        "title": "Loss",
        "type": "string",
    }
    with pytest.raises(ValueError, match="there is no loss named 'nce'"):
        Spec(loss="nce")


PLUGIN = '''
from pydantic import Field
from cl_core.losses import LossSum, PairLoss
from cl_core.registry import LOSSES

@LOSSES.register("{name}")
class Theirs(PairLoss):
    """A team's own loss."""

    margin: float = Field(0.5, gt=0, title="Margin", description="Of the team's own.")

    def compute(self, anchors, candidates, relation):
        return LossSum(anchors.sum() * self.margin, relation.positives.sum())
'''


def install(folder, *, name="theirs", registers_as="theirs", module="their_losses"):
    """Another distribution, as an installer leaves it: a module, and metadata with an entry point."""
    (folder / f"{module}.py").write_text(PLUGIN.format(name=registers_as))
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[counterpoint.losses]\n{name} = {module}\n")


def test_another_distribution_adds_a_component_without_touching_this_one(tmp_path):
    install(tmp_path)
    listed, early, built, refused, digests = run(
        "import json, sys\n"
        "from cl_core.registry import LOSSES\n"
        "from cl_core.specs import TrainingSpec\n"
        "listed, early = LOSSES.names(), 'their_losses' in sys.modules\n"
        "spec = TrainingSpec(loss='theirs', loss_options={'margin': '0.25'})\n"
        "from cl_core.training.components import complete, training_digest\n"
        "built = complete(spec).loss_options\n"
        "try: LOSSES.build('theirs', {'margin': 0}, field='training.loss')\n"
        "except ValueError as error: refused = str(error)\n"
        "from cl_core.code_digest import forget_code\n"
        "digests = [training_digest(spec, snapshot_digest='0', image_size=28)]\n"
        "with open(sys.modules['their_losses'].__file__, 'a') as file: file.write('SCALE = 2\\n')\n"
        "forget_code()\n"
        "digests += [training_digest(spec, snapshot_digest='0', image_size=28)]\n"
        "print(json.dumps([listed, early, built, refused, digests]))",
        PYTHONPATH=str(tmp_path),
    )
    assert listed == sorted([*LOSSES.names(), "theirs"])
    assert not early
    assert built == {"margin": 0.25}
    assert refused == "training.loss_options.margin: input should be greater than 0; got 0"
    assert digests[0] != digests[1]  # A plug-in's code decides the weights like our own.


def test_a_plugin_that_registers_another_name_than_it_announced_is_refused(tmp_path):
    install(tmp_path, name="announced", registers_as="something_else")
    message = run(
        "import json\n"
        "from cl_core.registry import LOSSES\n"
        "try: LOSSES.get('announced', field='training.loss')\n"
        "except ValueError as error: print(json.dumps(str(error)))",
        PYTHONPATH=str(tmp_path),
    )
    assert message == "training.loss: the module of loss 'announced' registers no class under that name"


def test_a_plugin_of_a_taken_name_is_refused_when_names_are_listed_and_when_it_is_used(tmp_path):
    install(tmp_path, name="info_nce", registers_as="info_nce")
    listed, used = run(
        "import json\n"
        "from cl_core.registry import LOSSES\n"
        "def refusal(call, *a, **k):\n"
        "    try: call(*a, **k)\n"
        "    except ValueError as error: return str(error)\n"
        "print(json.dumps([refusal(LOSSES.names), refusal(LOSSES.get, 'info_nce', field='training.loss')]))",
        PYTHONPATH=str(tmp_path),
    )
    assert listed == used
    assert listed == (
        "loss 'info_nce' exists twice: as cl_core.losses.info_nce and as their_losses of their-losses 1.0; "
        "rename one, or uninstall its package"
    )


def test_two_plugins_of_one_name_are_refused_with_both(tmp_path):
    install(tmp_path)
    install(tmp_path, module="other_losses")
    message = run(
        "import json\n"
        "from cl_core.registry import LOSSES\n"
        "try: LOSSES.names()\n"
        "except ValueError as error: print(json.dumps(str(error)))",
        PYTHONPATH=str(tmp_path),
    )
    for package in ("their_losses of their-losses 1.0", "other_losses of other-losses 1.0"):
        assert package in message
