"""What every modality keeps, whoever brings it: `Modality` says what each part is for."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from markupsafe import Markup
from modalities.cases import NAMES, PLUGIN, Case, Given

from cl_core.columns import SamplePool
from cl_core.data.cache import build_cache, cached_arrays, load_split, processor_state
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.snapshot import snapshot_profile
from cl_core.evaluation import representations
from cl_core.evaluation.runner import assess
from cl_core.export import EmbeddingModel, export_program
from cl_core.modalities import ArraySpec, Modality, Rejected
from cl_core.modalities._model_input import ModelInput, model_row
from cl_core.registry import MODALITIES, VIEWS
from cl_core.rng import SampleRng
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec
from cl_core.training.component_checks import check_views
from cl_core.training.components import assemble, training_digest
from cl_core.training.job import TrainingJob
from cl_core.training.loop import train

TRAINING = {
    "encoder": "mlp",
    "encoder_options": {"hidden": 16, "features": 8},
    "method_options": {"projector_hidden": 16, "projector_features": 8},
    "epochs": 2,
    "batch_size": 32,
    "warmup_epochs": 0.1,
    "precision": "fp32",
    "held_out_share": 0,
}
TEST = 80


def data_of(case: Case) -> DataSpec:
    return DataSpec(name="given", source="given", min_train_samples=2, **case.options)


def modality_of(case: Case) -> Modality:
    modality: Modality = data_of(case).built_modality
    return modality


def prepared(case: Case, folder: Path, *, changed: Callable[[bytes, str], str | None] = lambda payload, label: label):
    """Snapshot and cache of a case; `changed` gives the class of a test sample, None where it is left out."""
    samples = [(payload, label, "train") for payload, label in case.samples[TEST:]]
    tested = [(payload, changed(payload, label), "test") for payload, label in case.samples[:TEST]]
    Given.payloads = samples + [sample for sample in tested if sample[1] is not None]
    snapshot = ingest_source(data_of(case), datasets=folder / "datasets").snapshot
    return snapshot, build_cache(snapshot, modality_of(case), caches=folder / "caches")


def job_of(case: Case, folder: Path, name: str = "run") -> TrainingJob:
    snapshot, cache = prepared(case, folder)
    parts = assemble(TrainingSpec.model_validate(TRAINING | case.training))
    return TrainingJob(
        digest=training_digest(parts, snapshot_digest=snapshot.digest, modality=modality_of(case)),
        snapshot=snapshot,
        data=data_of(case),
        parts=parts,
        compute=ComputeSpec(threads=1, checkpoint_every_s=1e-9, report_every_s=0),
        cache=cache,
        folder=folder / name,
    )


def processor_of(cache: Path, modality: Modality):
    return modality.processor(cached_arrays(cache), processor_state(cache))


def with_blank(case: Case, cache: Path, rows: int, side: int = 0) -> tuple[torch.Tensor, ...]:
    """Rows of the test split as a program takes them, behind one that says as little as one may."""
    modality = modality_of(case)
    blank = model_row(case.blank, modality, cached_arrays(cache))
    columns = load_split(cache, "test").columns.take(slice(rows))
    parts = zip(modality.side(blank, side), modality.side(columns, side), strict=True)
    return tuple(torch.from_numpy(np.stack([first, *others])) for first, others in parts)


def test_every_modality_of_this_project_has_a_case() -> None:
    assert set(MODALITIES.names()) <= set(NAMES)


def test_it_names_its_parts_and_its_options_are_documented(case: Case) -> None:
    modality = modality_of(case)
    assert modality.registered_name == case.name
    assert modality.unit and modality.query and modality.baseline and len(modality.columns) >= 1
    views = VIEWS.get(modality.evaluation_views, field="views").modalities
    assert not views or {case.name, modality.served().registered_name} & set(views)
    assert set(modality.hidden_options) <= set(type(modality).model_fields)


def test_hostile_payloads_are_rejected_with_a_reason_and_a_sentence(case: Case) -> None:
    modality = modality_of(case)
    assert len(set(case.hostile)) >= 10
    for payload in case.hostile:
        with pytest.raises(Rejected) as caught:
            modality.inspect(payload, fingerprint=modality.has_fingerprints)
        assert caught.value.reason and caught.value.detail, payload
        # `cl embed` decodes what was never inspected.
        arrays = modality.known_arrays() or tuple(ArraySpec(kind.dtype, (9,)) for kind in modality.columns)
        with pytest.raises(Rejected):
            modality.decode(payload, arrays)


ELSEWHERE = """
import json, sys
from cl_core.modalities import ArraySpec
from cl_core.specs import DataSpec
options, arrays = json.loads(sys.argv[1]), [ArraySpec(dtype, tuple(shape)) for dtype, shape in json.loads(sys.argv[2])]
modality = DataSpec(name="given", source="synthetic", **options).built_modality
for part in modality.decode(sys.stdin.buffer.read(), tuple(arrays)):
    sys.stdout.buffer.write(part.tobytes())
"""


def test_a_payload_is_decoded_to_the_same_bytes_in_any_process(case: Case) -> None:
    modality, profiler = modality_of(case), modality_of(case).profiler()
    for payload, _ in case.samples[:20]:
        profiler.add("train", modality.inspect(payload, fingerprint=False).measures)
    arrays = modality.array_specs(profiler.profile())
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, json.dumps(case.options), json.dumps(arrays)],
        input=payload,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(PLUGIN), "PYTHONHASHSEED": "7"},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"".join(part.tobytes() for part in modality.decode(payload, arrays))


def test_what_a_model_takes_is_stored_and_found_again(case: Case, tmp_path: Path) -> None:
    job = job_of(case, tmp_path)
    stored = ModelInput.model_validate_json(job.model_input.model_dump_json())
    assert stored == job.model_input
    data = job.data
    for side in job.modality.programs[::-1]:
        taken, arrays, of_side = job.modality.served(side), job.modality.side(job.arrays, side), stored.of_side(side)
        defaults = {name: type(taken).model_fields[name].default for name in taken.fitted_options}
        assert of_side.kind == taken.model_copy(update=defaults) and of_side.arrays == arrays
        assert taken.describe(arrays) in str(stored)
        data = data.with_options_of(of_side.kind)
    assert stored.other_options(job.modality) == {}
    assert stored.sample_arrays(job.modality) == job.arrays
    assert data.built_modality == job.modality, "a spec keeps what is fitted"
    with pytest.raises(ValueError, match="it"):
        ModelInput(modality=stored.modality, shapes=((3, 4, 5, 6),) * len(arrays)).kind.describe(arrays)
    with pytest.raises(ValueError, match=f"it takes {len(arrays) + 1} arrays"):
        ModelInput(modality=stored.modality, shapes=(*stored.shapes, (3,))).arrays  # noqa: B018 - it raises.


def test_other_hidden_options_are_another_snapshot_and_another_cache(plugin: None) -> None:
    """Even if a modality says nothing of how they are written."""
    plain, upper = (MODALITIES.build("beads", options, field="modality") for options in ({}, {"upper_case": True}))
    assert plain.variant == "" and plain.variant != upper.variant and plain.digest_part != upper.digest_part
    assert upper.hidden == {"upper_case": True}


def test_the_processor_is_fitted_to_the_training_split_alone(case: Case, tmp_path: Path) -> None:
    _, first = prepared(case, tmp_path / "all")
    _, second = prepared(case, tmp_path / "few", changed=lambda payload, label: label if payload[-1] % 2 else None)
    assert len(load_split(second, "test")) < len(load_split(first, "test"))
    files = [(cache / "processor.safetensors").read_bytes() for cache in (first, second)]
    assert files[0] == files[1]


def test_the_processor_gives_finite_views_of_its_shape_and_takes_them_back(case: Case, tmp_path: Path) -> None:
    _, cache = prepared(case, tmp_path)
    modality, arrays = modality_of(case), cached_arrays(cache)
    for side in modality.programs:
        processor = processor_of(cache, modality).side(side)
        rows = with_blank(case, cache, 9, side)
        views = processor(rows)
        assert views.shape == (10, *processor.view_shape) and views.dtype == torch.float32
        assert torch.isfinite(views).all()
        for restored, column in zip(processor.restored(views), rows, strict=True):
            torch.testing.assert_close(restored, column, rtol=1e-5, atol=1e-5, equal_nan=True)
        torch.testing.assert_close(processor.view(processor.values(rows)), views, rtol=0, atol=1e-6)
        example = modality.example_processor(arrays).side(side)
        assert example.arrays == modality.side(arrays, side) and example(rows).shape[0] == 10


@pytest.mark.parametrize("policy", ["of the training", "of the evaluation"])
def test_a_sample_gets_the_same_views_in_any_batch_and_on_any_number_of_workers(
    case: Case, tmp_path: Path, policy: str
) -> None:
    _, cache = prepared(case, tmp_path)
    modality, split = modality_of(case), load_split(cache, "train")
    name = case.training["views"] if policy == "of the training" else modality.evaluation_views
    views, pool = VIEWS.build(name, {}, field="views"), SamplePool(split.columns)
    processor = processor_of(cache, modality)
    if policy == "of the evaluation" and len(modality.programs) > 1:  # Of the first sides.
        pool, processor = pool.of_side(0), processor.side(0)

    def made(positions: np.ndarray) -> tuple[torch.Tensor, ...]:
        rng = SampleRng(3, 1, split.sample_ids[positions])
        return views(pool.batch(positions), rng=rng, processor=processor, pool=pool)

    whole = made(np.arange(24))
    assert len(whole) == views.count and all(torch.isfinite(view).all() for view in whole)
    order = np.random.default_rng(0).permutation(24)
    for part in [*np.array_split(order, 3), np.array([7]), np.array([5, 5, 1])]:
        for view, reference in zip(made(part), whole, strict=True):
            assert torch.equal(view, reference[part])


def test_components_that_suit_it_are_accepted_before_the_training(case: Case) -> None:
    check_views(assemble(TrainingSpec.model_validate(TRAINING | case.training)), modality_of(case))


def test_what_is_shown_of_a_sample_is_escaped(case: Case, tmp_path: Path) -> None:
    _, cache = prepared(case, tmp_path)
    modality, row = modality_of(case), tuple(column[0] for column in load_split(cache, "test").columns.take(slice(1)))
    for shown in (modality.preview(row, side=40), modality.preview_payload(case.samples[0][0], side=40)):
        assert isinstance(shown.html, Markup) and shown.text and "\n" not in shown.text
        assert "http://" not in shown.html.replace("http://www.w3.org", "") and "<script" not in shown.html
    facts = modality.facts(snapshot_profile(prepared(case, tmp_path)[0].path).content)
    assert all(isinstance(text, str) and text for text in facts.values())


def test_of_text_a_tag_is_shown_as_text(plugin: None) -> None:
    beads = MODALITIES.build("beads", {}, field="modality")
    assert beads.preview_payload(b"<script>", side=40).html == "<code>&lt;script&gt;</code>"


@pytest.mark.slow_unit(reason="a program that finds words has 300 operations, and torch takes 10 ms to trace one")
def test_the_exported_program_is_the_model_for_any_number_of_rows(case: Case, tmp_path: Path) -> None:
    job = job_of(case, tmp_path)
    model = EmbeddingModel(job.processor, job.parts.encoder.build_for(job.processor))
    for side in job.modality.programs:
        of_side = model.of_side(side) if len(job.modality.programs) > 1 else model
        program = export_program(of_side).module()
        rows = with_blank(case, job.cache, 16, side)
        for count in (1, 2, 3, 17):
            some = [column[:count] for column in rows]
            with torch.inference_mode():
                found = program(*some)
            torch.testing.assert_close(found, of_side(*some), rtol=0, atol=1e-6)
            assert torch.isfinite(found).all()


def test_it_is_trained_and_evaluated_beside_its_baseline_and_the_untrained_encoder(case: Case, tmp_path: Path) -> None:
    job = job_of(case, tmp_path)
    checkpoint = train(job)
    spec = EvaluationSpec(protocols=["knn", "geometry"], resamples=100)
    compared = (
        representations.trained(job, checkpoint.path),
        representations.untrained(job),
        representations.baseline(job),
    )
    scores: dict[str, Any] = {
        one.name: assess(one, spec, embeddings=tmp_path / "e", evaluations=tmp_path / "v").report.scores
        for one in compared
    }
    assert list(scores) == ["trained", "untrained", job.modality.baseline]
    # The two classes are easily told apart: what is at chance has mixed up rows and labels.
    assert all(of["knn_20.accuracy"].value > 0.8 for of in scores.values()), scores
    assert all(np.isfinite(of["geometry.alignment"].value) for of in scores.values())


# Whole processes: of one modality before every commit, of the others in the sweep.
ENDS = pytest.mark.parametrize(
    "case",
    [
        pytest.param(name, marks=[pytest.mark.integration, *([] if name == "vector" else [pytest.mark.sweep])])
        for name in NAMES
    ],
    indirect=True,
)
KILLING = """
import os, signal
from cl_core.training.checkpoint import CheckpointStore
save = CheckpointStore.save
def killing(self, step, **state):
    path = save(self, step, **state)
    if step == 7: os.kill(os.getpid(), signal.SIGKILL)
    return path
CheckpointStore.save = killing
from cl_core.training.job import TrainingJob
from cl_core.training.loop import train
import sys
train(TrainingJob.model_validate_json(sys.stdin.read()))
"""


@ENDS
def test_killed_in_the_middle_of_an_epoch_it_ends_with_the_same_bits(case: Case, tmp_path: Path) -> None:
    undisturbed, job = train(job_of(case, tmp_path, "undisturbed")), job_of(case, tmp_path, "killed")
    killed = subprocess.run(
        [sys.executable, "-c", KILLING],
        # The source of the test is known to this process alone.
        input=job.model_copy(update={"data": job.data.model_copy(update={"source": "synthetic"})}).model_dump_json(),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PLUGIN)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = train(job)
    assert resumed.resumed_from_step == 7
    first, second = (safetensors.torch.load_file(one.path / "method.safetensors") for one in (undisturbed, resumed))
    assert [name for name in first if not first[name].equal(second[name])] == []


WORKING = """
import sys
from small_training import train_as_one_of
train_as_one_of(2, int(sys.argv[1]), sys.stdin.read())
"""


@pytest.mark.sweep
def test_two_workers_end_with_the_weights_of_one(case: Case, tmp_path: Path) -> None:
    """To what float32 gives: sums over two halves of a batch are added in another order."""
    alone, job = train(job_of(case, tmp_path, "alone")), job_of(case, tmp_path, "shared")
    job.folder.mkdir()
    job = job.model_copy(
        update={
            "data": job.data.model_copy(update={"source": "synthetic"}),
            "compute": job.compute.model_copy(update={"workers": 2, "threads": 2}),
        }
    )
    paths = [str(PLUGIN), str(PLUGIN.parents[1])]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKING, str(rank)],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            text=True,
        )
        for rank in range(2)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(job.model_dump_json())
        worker.stdin.close()
    assert [worker.wait() for worker in workers] == [0, 0]
    shared = job.checkpoints.latest()
    assert shared is not None and shared.name == alone.path.name
    first, second = (safetensors.torch.load_file(path / "method.safetensors") for path in (alone.path, shared))
    for name, tensor in first.items():
        # A bias before a batch norm has no gradient but rounding, which Adam makes a step of; means follow it.
        if name.endswith("weight"):
            torch.testing.assert_close(tensor, second[name], rtol=0, atol=1e-4, msg=name)
    losses = [[progress.loss for progress in one.progress.read()] for one in (job_of(case, tmp_path, "alone"), job)]
    assert len(losses[0]) > 5 and losses[0] == pytest.approx(losses[1], rel=1e-4)
