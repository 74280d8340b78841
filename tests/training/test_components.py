"""From a spec to its parts: what fits, and what a training is called."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import cl_core
from cl_core.encoders.mlp import MLP
from cl_core.errors import SpecError
from cl_core.hashing.code_digest import forget_code, imported_modules
from cl_core.losses.info_nce import InfoNCE
from cl_core.methods.simclr import SimCLROptions
from cl_core.modalities.image import Images
from cl_core.registry import METHODS
from cl_core.specs import TrainingSpec
from cl_core.training.components import DECIDES_WEIGHTS, Parts, assemble, training_digest


def digest(*, snapshot="a" * 64, image_size=28, **fields):
    return training_digest(assemble(TrainingSpec(**fields)), snapshot_digest=snapshot, modality=Images(size=image_size))


def test_the_components_are_those_that_the_spec_names_with_its_options():
    training = TrainingSpec(
        encoder="mlp", encoder_options={"hidden": 9}, loss_options={"temperature": 0.5}, method_options={}
    )
    parts = assemble(training)
    assert parts.encoder == MLP(hidden=9)
    assert parts.loss == InfoNCE(temperature=0.5)
    assert parts.method == SimCLROptions()
    assert parts.views.count == 2


@pytest.mark.parametrize("part", ["method", "loss", "views", "encoder"])
def test_an_unknown_option_of_any_part_is_refused_with_its_path(part):
    with pytest.raises(SpecError, match=rf"^training\.{part}_options\.color: there is no such option; choose from: "):
        assemble(TrainingSpec(**{f"{part}_options": {"color": 1}}))


def test_the_parts_travel_as_their_completed_spec_and_are_the_same_again():
    parts = assemble(TrainingSpec(method="moco_v3", loss_options={"temperature": 0.3}))
    assert json.loads(parts.model_dump_json()) == parts.spec.model_dump(mode="json")
    again = Parts.model_validate_json(parts.model_dump_json())
    assert again == parts and type(again.method) is type(parts.method)


def test_an_option_out_of_range_is_refused_with_its_path():
    with pytest.raises(SpecError) as caught:
        assemble(TrainingSpec(loss_options={"temperature": 0}))
    assert str(caught.value) == "training.loss_options.temperature: input should be greater than 0; got 0"


def test_a_view_policy_that_makes_another_number_of_views_is_refused(monkeypatch):
    class ThreeViews(SimCLROptions):
        view_counts = range(3, 4)

    monkeypatch.setitem(METHODS._classes, "three_views", ThreeViews)
    with pytest.raises(SpecError) as caught:
        assemble(TrainingSpec(method="three_views"))
    assert str(caught.value) == (
        "training.views: method 'three_views' takes 3 views of each sample, but 'simclr' makes 2; "
        "choose another view policy, or other views_options"
    )


def test_a_complete_spec_has_every_option_written_out_and_nothing_else_changed():
    training = TrainingSpec(encoder="mlp", loss_options={"temperature": "0.3"}, epochs=7)
    completed = assemble(training).spec
    assert (completed.loss, completed.views) == ("info_nce", "simclr")
    assert completed.loss_options == {"temperature": 0.3, "tile": 512}
    assert completed.encoder_options == {"hidden": 256, "features": 128, "batch_norm": False}
    assert completed.method_options == {"projector_hidden": 512, "projector_features": 128}
    kept = set(TrainingSpec.model_fields) - {
        "loss",
        "views",
        "method_options",
        "loss_options",
        "views_options",
        "encoder_options",
        "precision",
        "views_backend",
    }
    assert all(getattr(completed, field) == getattr(training, field) for field in kept)
    assert assemble(completed).spec == completed


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"architecture": "x86_64", "avx2": True, "avx512_f": True, "avx512_bf16": False}, "fp32"),
        # Zen 3; Zen 4 and later; a Xeon with AMX; the same where the hypervisor hides AMX; a name that says nothing.
        ({"architecture": "x86_64", "cpu_name": "AMD EPYC 7763", "avx2": True, "avx512_bf16": False}, "fp32"),
        ({"architecture": "x86_64", "cpu_name": "AMD EPYC 9654", "avx512_f": True, "avx512_bf16": True}, "bf16"),
        ({"architecture": "x86_64", "cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, "bf16"),
        ({"architecture": "x86_64", "cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, "fp32"),
        ({"architecture": "x86_64", "cpu_name": "", "avx512_bf16": True, "amx_bf16": False}, "fp32"),
        ({"architecture": "arm64", "neon": True}, "fp32"),
        ({"architecture": "arm64", "neon": True, "bf16": True}, "bf16"),
    ],
)
def test_automatic_precision_is_what_the_cpu_computes_faster_in(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # a driver without a GPU
    assert assemble(TrainingSpec()).spec.precision == precision
    assert assemble(TrainingSpec(), on_gpu=True).spec.precision == "bf16"
    assert assemble(TrainingSpec(precision="fp32"), on_gpu=True).spec.precision == "fp32"
    assert assemble(TrainingSpec(precision="bf16")).spec.precision == "bf16"


def test_what_auto_was_stays_in_the_completed_spec_wherever_the_training_is_resumed(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    begun = assemble(TrainingSpec())
    stored = begun.model_dump_json()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert assemble(TrainingSpec()).spec.precision == "fp32"
    resumed = Parts.model_validate_json(stored)
    assert resumed.spec == begun.spec and resumed.spec.precision == "bf16"


def test_the_automatic_backend_of_views_is_the_kernel_where_cpus_train_and_there_is_one(monkeypatch):
    assert assemble(TrainingSpec()).spec.views_backend == "fused"
    assert assemble(TrainingSpec(views_backend="torch")).spec.views_backend == "torch"
    assert assemble(TrainingSpec(), on_gpu=True).spec.views_backend == "torch"
    assert assemble(TrainingSpec(views="dacl_mixup")).spec.views_backend == "torch"
    monkeypatch.setitem(sys.modules, "numba", None)
    assert assemble(TrainingSpec()).spec.views_backend == "torch"


def test_a_spec_that_was_stored_before_there_was_a_choice_of_backend_means_torch():
    stored = json.loads(assemble(TrainingSpec()).model_dump_json())
    del stored["views_backend"]
    assert Parts.model_validate(stored).spec.views_backend == "torch"
    assert Parts.model_validate_json(json.dumps(stored)).spec.views_backend == "torch"
    assert Parts.model_validate({**stored, "views_backend": "fused"}).spec.views_backend == "fused"


def test_a_digest_is_64_hexadecimal_digits_and_the_same_at_every_call():
    assert re.fullmatch("[0-9a-f]{64}", digest())
    assert digest() == digest()


@pytest.mark.parametrize(
    "same",
    [
        {"learning_rate": 2e-3},
        {"loss_options": {"temperature": 0.2}},
        {"loss_options": {"temperature": "0.2"}},
        {"loss": "info_nce"},
        {"views": "simclr"},
        {"method_options": {"projector_hidden": 512}},
        {"method_options": {"projector_hidden": "512", "projector_features": 128.0}},
        {"views_options": {"flip_probability": 0.5}},
    ],
)
def test_a_default_left_out_and_the_same_value_given_are_one_training(same):
    assert digest(**same) == digest()


@pytest.mark.parametrize("method", METHODS.names())
def test_naming_what_the_paper_uses_is_one_training_with_leaving_it_out(method):
    published = METHODS.build(method, {}, field="training.method")
    named = {"views": published.paper_views.name}
    if published.paper_loss:
        named["loss"] = published.paper_loss.name
    assert assemble(TrainingSpec(method=method, **named)).spec == assemble(TrainingSpec(method=method)).spec


def test_a_number_and_the_text_of_it_are_one_training():
    assert digest(loss_options={"temperature": "0.3"}) == digest(loss_options={"temperature": 0.3})
    assert digest(loss_options={"temperature": 1}) == digest(loss_options={"temperature": 1.0})
    with_booleans = [digest(encoder="mlp", encoder_options={"batch_norm": value}) for value in (True, "true", "True")]
    assert len(set(with_booleans)) == 1


def test_every_other_input_is_another_training():
    variants = [
        {},
        {"snapshot": "b" * 64},
        {"image_size": 32},
        {"seed": 1},
        {"epochs": 5},
        {"batch_size": 128},
        {"accumulate_steps": 2},
        {"sub_batch_size": 32},
        {"optimizer": "sgd"},
        {"learning_rate": 1e-3},
        {"weight_decay": 0.0},
        {"momentum": 0.8},
        {"warmup_epochs": 0.0},
        {"precision": "fp32" if assemble(TrainingSpec()).spec.precision == "bf16" else "bf16"},
        {"channels_last": False},
        {"encoder": "mlp"},
        {"encoder": "mlp", "encoder_options": {"hidden": 255}},
        {"method_options": {"projector_hidden": 511}},
        {"loss_options": {"temperature": 0.3}},
        {"loss_options": {"temperature": 0.30000000000000004}},
        {"views_options": {"flip_probability": 0.4}},
        {"held_out_share": 0.1},
        {"start_from": "champion"},
        {"start_towers": ["text=sentences/1"]},
        {"method": "dacl"},
        {"loss": "decoupled"},
        {"views": "moco_v2"},
        {"views_backend": "torch"},
    ]
    assert len({digest(**variant) for variant in variants}) == len(variants)
    changed = {name for variant in variants for name in variant} - {"snapshot", "image_size"}
    assert changed == set(TrainingSpec.model_fields)


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A copy of this package, of which digests of code are taken while the fixture is in use."""
    copy = tmp_path / "cl_core"
    shutil.copytree(Path(cl_core.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cl_core.__spec__, "submodule_search_locations", [str(copy)])
    forget_code()
    yield copy
    forget_code()


def digest_of_edited(path, old, new, **fields):
    """Digest of a training while a file of the copied package reads otherwise."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} holds {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))
    forget_code()
    changed = digest(**fields)
    path.write_text(text)
    return changed


def test_adding_a_component_changes_no_training(code):
    before = digest()
    (code / "losses" / "new_loss.py").write_text("SCALE = 1\n")
    (code / "encoders" / "new_encoder.py").write_text("WIDTH = 1\n")
    forget_code()
    assert digest() == before


def test_an_edited_docstring_comment_label_or_message_changes_no_training(code):
    before = digest()
    for file in ["losses/info_nce.py", "losses/_pair_sums.py", "methods/__init__.py", "training/loop.py", "rng.py"]:
        text = (code / file).read_text()
        assert text.startswith('"""')
        (code / file).write_text(text.replace('"""', '"""Mended. ', 1) + "\n# The end.\n")
    path = code / "specs" / "training.py"
    path.write_text(re.sub(r'title="[^"]*"', 'title="Other"', path.read_text()))
    forget_code()
    assert digest() == before


def test_another_line_length_changes_no_training(code):
    before = digest()
    parts = [code / name for name in ("losses", "methods", "views", "encoders", "parallel", "training", "rng.py")]
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", "80", *map(str, parts)]
    formatted = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(formatted.stdout.split()[0]) > 30  # Files that were written anew.
    forget_code()
    assert digest() == before


def test_moving_a_file_changes_no_training(code):
    before = digest()
    (code / "losses" / "_pair_sums.py").rename(code / "parallel" / "sums.py")
    for path in code.rglob("*.py"):
        path.write_text(path.read_text().replace("cl_core.losses._pair_sums", "cl_core.parallel.sums"))
    forget_code()
    assert digest() == before
    (code / "parallel" / "sums.py").write_text("SCALE = 2\n")
    forget_code()
    assert digest() != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("losses/_pair_sums.py", "sums.positives * sums.lse", "sums.positives * sums.negative_lse"),
        ("losses/_pair_sums.py", "spread - sums.positive_sum", "sums.positive_sum - spread"),
        ("losses/_pair_sums.py", "scale=1 / self.temperature", "scale=self.temperature"),
        ("methods/_in_batch.py", "self.compare(rows, ids, rows, ids)", "self.compare(rows, ids, rows[:1], ids)"),
        ("views/image_operations/distributions.py", "low + draws * (high - low)", "high + draws * (low - high)"),
        ("encoders/resnet_small.py", "Conv2d(before, after, 3, stride=2", "Conv2d(before, after, 3, stride=1"),
        ("training/schedule.py", "0.5 * (1 + ", "0.5 * (2 + "),
        ("training/optimizer.py", "if p.ndim > 1", "if p.ndim > 2"),
        ("parallel/collectives.py", "return total * world_size() / ", "return total / "),
        ("data/sampling.py", "batches = rows // batch_size", "batches = rows // (batch_size + 1)"),
        ("modalities/_image_decoding.py", "Resampling.BICUBIC", "Resampling.BILINEAR"),
        ("rng.py", "_ROUNDS = 10", "_ROUNDS = 7"),
    ],
)
def test_a_change_of_the_maths_is_another_training(code, file, old, new):
    before = digest()
    assert digest_of_edited(code / file, old, new) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("losses/triplet.py", "pulled - pushed + self.margin", "pushed - pulled + self.margin"),
        ("methods/swav.py", "_ASSIGNED_VIEWS = 2", "_ASSIGNED_VIEWS = 3"),
        ("training/online_knn.py", "import numpy as np", "import numpy as np\nimport math"),
        ("report/page.py", "import json", "import json\nimport math"),
    ],
)
def test_a_change_of_another_component_is_no_other_training(code, file, old, new):
    before = digest()
    assert digest_of_edited(code / file, old, new) == before


# What the training loop imports without its deciding the weights.
DECIDES_NOTHING = {
    "cl_core.data.snapshot": "counts what a snapshot holds",
    "cl_core.data.worker_pool": "decodes in several threads; the rows come in order",
    "cl_core.training": "is empty",
    "cl_core.training.checkpoint": "stores weights, and gives them back as they were",
    "cl_core.training.components": "makes the completed spec, which is in the digest",
    "cl_core.training.health": "is empty",
    "cl_core.training.job": "names paths",
    "cl_core.training.online_knn": "measures",
    "cl_core.training.progress": "reports",
}
MEASURES = ("cl_core.training.health.", "cl_core.evaluation.")


def test_every_module_that_the_training_loop_imports_is_in_the_digest_or_is_known_to_decide_nothing():
    pending, imported = ["cl_core.training.loop"], set()
    while pending:
        module = pending.pop()
        if module not in imported and not module.startswith(MEASURES) and module not in DECIDES_NOTHING:
            imported.add(module)
            pending += imported_modules(module)
    components = {"cl_core.encoders", "cl_core.losses", "cl_core.methods", "cl_core.views"}  # Their bases; imported.
    assert imported - components <= set(DECIDES_WEIGHTS)


@pytest.mark.parametrize(
    ("given", "what"),
    [({"loss": "info_nce"}, "loss 'info_nce'"), ({"loss_options": {"temperature": 1}}, "loss_options")],
)
def test_a_loss_for_a_method_with_an_objective_of_its_own_is_refused(given, what):
    with pytest.raises(SpecError) as caught:
        assemble(TrainingSpec(method="barlow_twins", **given))
    assert str(caught.value) == (
        "training.loss: method 'barlow_twins' has its own objective and takes no other loss; "
        f"got {what}: leave loss at 'paper' without options, and see training.method_options"
    )


def test_a_loss_that_the_method_does_not_accept_is_refused_with_those_it_does():
    with pytest.raises(SpecError) as caught:
        assemble(TrainingSpec(method="siamese", loss="triplet"))
    assert str(caught.value) == (
        "training.loss: method 'siamese' does not accept loss 'triplet'; "
        "choose one of: logistic, margin_contrastive, pairwise_logistic"
    )
