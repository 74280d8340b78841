"""Registries: names without imports, plug-ins without forks, and errors that say the whole path."""

import importlib
import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError

from cl_core import registry
from cl_core.errors import SpecError
from cl_core.hashing.code_digest import forget_code
from cl_core.losses import info_nce
from cl_core.modalities.image import Images
from cl_core.registry import (
    ENCODERS,
    EVALUATIONS,
    LOSSES,
    METHODS,
    MODALITIES,
    SOURCES,
    VIEWS,
    Component,
    NameIn,
    Registry,
)
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble, training_digest

REGISTRIES = {
    "modality": MODALITIES,
    "source": SOURCES,
    "view policy": VIEWS,
    "encoder": ENCODERS,
    "loss": LOSSES,
    "method": METHODS,
    "evaluation": EVALUATIONS,
}
EVERY_COMPONENT = [(kind, name) for kind, found in REGISTRIES.items() for name in found.names()]


def test_names_are_known_without_importing_a_component_or_torch():
    code = (
        "import json, sys, cl_core.specs\n"
        "from cl_core.registry import ENCODERS, EVALUATIONS, LOSSES, METHODS, MODALITIES, SOURCES, VIEWS\n"
        "names = [r.names() for r in (MODALITIES, SOURCES, VIEWS, ENCODERS, LOSSES, METHODS, EVALUATIONS)]\n"
        "cl_core.specs.TrainingSpec.model_json_schema()\n"
        "print(json.dumps([names, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names, imported = json.loads(done.stdout)
    assert names == [found.names() for found in REGISTRIES.values()]
    assert not {"torch", "numpy", "pyarrow", "prefect", "ray", "mlflow"} & set(imported)
    packages = tuple(found.package for found in REGISTRIES.values())
    assert not [module for module in imported if module.startswith(packages)]


def test_what_this_project_brings_is_listed():
    assert set(SOURCES.names()) >= {"fashion_mnist", "image_folder", "parquet", "snapshot", "synthetic"}
    assert set(ENCODERS.names()) == {
        "bag",
        "gru",
        "mlp",
        "resnet18",
        "resnet50",
        "resnet_small",
        "transformer",
        "two_towers",
    }
    assert set(MODALITIES.names()) >= {"image", "text", "vector"}
    assert "simclr" in VIEWS.names() and "simclr" in METHODS.names() and "info_nce" in LOSSES.names()
    assert {"geometry", "knn", "linear_probe"} <= set(EVALUATIONS.names())


def test_the_name_of_a_component_is_that_of_its_module():
    modules = {(kind, name): REGISTRIES[kind].get(name, field="field").__module__ for kind, name in EVERY_COMPONENT}
    assert modules == {(kind, name): f"{REGISTRIES[kind].package}.{name}" for kind, name in EVERY_COMPONENT}


def test_every_component_has_a_docstring_and_each_option_a_title_a_description_and_a_default():
    offenders = []
    for kind, name in EVERY_COMPONENT:
        component = REGISTRIES[kind].get(name, field="field")
        if "__doc__" not in vars(component) or not component.__doc__.strip():
            offenders.append(f"{kind} {name}: no docstring")
        for option, field in component.model_fields.items():
            if not field.title or not (field.description or "").endswith("."):
                offenders.append(f"{kind} {name}.{option}: title {field.title!r}, description {field.description!r}")
            # A method chooses it by the data; a modality takes all there is.
            is_left_open = field.default is None and "fitted_to" not in vars(component) and kind != "modality"
            if is_left_open or field.is_required():
                offenders.append(f"{kind} {name}.{option}: no default")
    assert offenders == []


def test_every_component_built_without_options_is_frozen_and_survives_json():
    for kind, name in EVERY_COMPONENT:
        component = REGISTRIES[kind].build(name, {}, field="field")
        again = REGISTRIES[kind].build(name, json.loads(component.model_dump_json()), field="field")
        assert again == component, (kind, name)
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


@pytest.mark.parametrize("name", ["_torchvision", "image_operations", "__init__", ""])
def test_private_modules_and_sub_packages_are_no_components(name):
    for found in REGISTRIES.values():
        assert name not in found.names()


def test_an_unknown_option_is_refused_with_its_path_and_the_options_there_are():
    with pytest.raises(SpecError) as caught:
        LOSSES.build("info_nce", {"tau": 0.1}, field="training.loss")
    assert str(caught.value) == ("training.loss_options.tau: there is no such option; choose from: temperature, tile")


def test_every_wrong_option_is_named_with_what_was_wanted_and_what_came():
    with pytest.raises(SpecError) as caught:
        METHODS.build("simclr", {"projector_hidden": -1, "projector_features": "many"}, field="training.method")
    assert str(caught.value) == (
        "training.method_options.projector_hidden: input should be greater than or equal to 0; got -1; "
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
    sentence = registry.explain_validation_error(caught.value, "evaluation.options.knn", [])
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


def test_a_module_imported_again_may_register_again(monkeypatch):
    monkeypatch.setattr(LOSSES, "_classes", dict(LOSSES._classes))
    before = dict(vars(info_nce))
    try:
        again = importlib.reload(info_nce).InfoNCE
        assert again is not before["InfoNCE"]
        assert LOSSES.get("info_nce", field="training.loss") is again
    finally:
        vars(info_nce).update(before)


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


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that installs another distribution for one test, as an installer does: a module, and its metadata."""

    def installing(*, name="theirs", registers_as="theirs", module="their_losses"):
        (tmp_path / f"{module}.py").write_text(PLUGIN.format(name=registers_as))
        metadata = tmp_path / f"{module}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[counterpoint.losses]\n{name} = {module}\n")

    def forget():
        """What a fresh process would not know."""
        vars(LOSSES).pop("_plugins", None)
        forget_code()
        for module in ("their_losses", "other_losses"):
            sys.modules.pop(module, None)

    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        patch.setattr(LOSSES, "_classes", dict(LOSSES._classes))
        forget()
        yield installing
    forget()


def test_another_distribution_adds_a_component_without_touching_this_one(install):
    before = LOSSES.names()
    vars(LOSSES).pop("_plugins")
    install()
    assert LOSSES.names() == sorted([*before, "theirs"])
    spec = TrainingSpec(loss="theirs", loss_options={"margin": "0.25"})
    assert "their_losses" not in sys.modules, "names are known without an import"
    assert assemble(spec).spec.loss_options == {"margin": 0.25}
    with pytest.raises(SpecError) as caught:
        LOSSES.build("theirs", {"margin": 0}, field="training.loss")
    assert str(caught.value) == "training.loss_options.margin: input should be greater than 0; got 0"


def test_the_code_of_another_distribution_decides_the_training_digest_as_our_own_does(install):
    install()
    spec = TrainingSpec(loss="theirs")
    first = training_digest(assemble(spec), snapshot_digest="0", modality=Images())
    with Path(sys.modules["their_losses"].__file__).open("a") as file:
        file.write("MORE = 1\n")
    forget_code()
    assert training_digest(assemble(spec), snapshot_digest="0", modality=Images()) != first


def test_a_plugin_that_registers_another_name_than_it_announced_is_refused(install):
    install(name="announced", registers_as="something_else")
    with pytest.raises(SpecError) as caught:
        LOSSES.get("announced", field="training.loss")
    assert str(caught.value) == "training.loss: the module of loss 'announced' registers no class under that name"


def test_a_plugin_of_a_taken_name_is_refused_when_names_are_listed_and_when_it_is_used(install):
    install(name="info_nce", registers_as="info_nce")
    for use in (LOSSES.names, partial(LOSSES.get, "info_nce", field="training.loss")):
        with pytest.raises(SpecError) as caught:
            use()
        assert str(caught.value) == (
            "loss 'info_nce' exists twice: as cl_core.losses.info_nce and as their_losses of their-losses 1.0; "
            "rename one, or uninstall its package"
        )


def test_two_plugins_of_one_name_are_refused_with_both(install):
    install()
    install(module="other_losses")
    with pytest.raises(SpecError) as caught:
        LOSSES.names()
    for package in ("their_losses of their-losses 1.0", "other_losses of other-losses 1.0"):
        assert package in str(caught.value)
