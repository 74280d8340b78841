"""A training that starts from given weights: they are there before the first step, in every copy of the encoder."""

import hashlib
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from small_methods import changes
from small_training import JobOf, train_in_a_process
from torch import Tensor

from cl_core.errors import SpecError
from cl_core.export import EmbeddingModel, save_weights
from cl_core.modalities import ArraySpec, Specs
from cl_core.modalities._processor import Processor
from cl_core.modalities._vector_processor import VectorProcessor
from cl_core.modalities.image import Images
from cl_core.modalities.vector import Vectors
from cl_core.refs import InitialWeightsRef
from cl_core.specs import TrainingSpec
from cl_core.training.components import assemble, training_digest
from cl_core.training.job import TrainingJob
from cl_core.training.loop import train
from cl_core.training.warm_start import SPEC, WEIGHTS, check_initial_weights

# So small that float32 weights stay what they are.
STILL = {"learning_rate": 1e-30, "weight_decay": 0.0, "epochs": 1, "warmup_epochs": 0.1}


def started(job: TrainingJob, folder: Path) -> TrainingJob:
    """The job, from weights that no seed of its own gives."""
    torch.manual_seed(12345)
    encoder = assemble(job.training).encoder.build(job.view_shape)
    folder.mkdir()
    save_weights(EmbeddingModel(job.processor, encoder), folder / WEIGHTS)
    start = InitialWeightsRef(champion="models:/shapes/1", sha256="0" * 64, path=folder)
    return job.model_copy(update={"initial_weights": start})


def weights(folder: Path, prefix: str) -> dict[str, Tensor]:
    """What is learned of an encoder; statistics move whatever the learning rate."""
    [file] = [path for path in (folder / WEIGHTS, folder / "method.safetensors") if path.exists()]
    state = safetensors.torch.load_file(file)
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix) and n.endswith("weight")}


@pytest.mark.parametrize(
    ("method", "copies"),
    [
        ("simclr", ["encoder."]),
        ("moco_v2", ["encoder.", "key_network.network.0."]),
        ("moco_v3", ["encoder.", "key_network.network.0."]),
    ],
)
def test_before_the_first_step_the_encoder_and_its_copies_have_the_initial_weights(
    job_of: JobOf, tmp_path: Path, method: str, copies: list[str]
) -> None:
    job = started(job_of(**changes(method) | STILL), tmp_path / "start")
    given = weights(tmp_path / "start", "encoder.")
    assert len(given) > 3
    end = train(job).path
    for copy in copies:
        found = weights(end, copy)
        assert found.keys() == given.keys(), copy
        for name, tensor in given.items():
            torch.testing.assert_close(found[name], tensor, msg=f"{copy}{name}")


def test_from_scratch_the_encoder_has_other_weights(job_of: JobOf, tmp_path: Path) -> None:
    job = job_of(**STILL)
    started(job, tmp_path / "start")
    given, found = weights(tmp_path / "start", "encoder."), weights(train(job).path, "encoder.")
    assert not any(torch.allclose(found[name], tensor) for name, tensor in given.items() if tensor.dim() > 1)


@pytest.mark.integration
def test_a_killed_training_resumes_from_its_checkpoint_and_not_from_the_start(job_of: JobOf, tmp_path: Path) -> None:
    undisturbed = train(started(job_of("undisturbed"), tmp_path / "first"))
    job = started(job_of("killed"), tmp_path / "second")
    process = train_in_a_process(
        job,
        prelude="""
import os, signal
from cl_core.training import checkpoint
saved = []
save = checkpoint.CheckpointStore.save
def counting(*arguments, **named):
    saved.append(save(*arguments, **named))
    if len(saved) == 4: os.kill(os.getpid(), signal.SIGKILL)
checkpoint.CheckpointStore.save = counting
""",
    )
    assert process.wait() == -signal.SIGKILL
    resumed = train(job)
    assert resumed.resumed_from_step == 4
    first, second = (one.path / "method.safetensors" for one in (undisturbed, resumed))
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()


def test_other_first_weights_are_another_training(job_of: JobOf) -> None:
    training = job_of().training
    digests = {
        training_digest(assemble(training), snapshot_digest="a" * 64, modality=Images(size=16), start_sha256=sha256)
        for sha256 in ("", "0" * 64, "1" * 64)
    }
    assert len(digests) == 3


def test_images_are_normalized_by_the_data_of_the_training_whatever_the_champion_had(
    job_of: JobOf, tmp_path: Path
) -> None:
    job = started(job_of(**STILL), tmp_path / "start")
    file = tmp_path / "start" / WEIGHTS
    state = safetensors.torch.load_file(file)
    safetensors.torch.save_file(state | {"processor.mean": torch.full((1, 1, 1, 1), 0.125)}, file)
    for name in ("mean", "std"):
        assert torch.equal(getattr(job.processor, name), getattr(job_of().processor, name))


def test_vectors_are_standardized_as_for_the_champion_and_by_the_data_where_it_has_no_numbers() -> None:
    champion, fitted = (
        {"mean": torch.full((3,), mean), "std": torch.ones(3), "masked": torch.tensor([masked])}
        for mean, masked in ((0.5, False), (0.25, True))
    )
    arrays = (ArraySpec("float32", (3,)),)
    continued = Vectors().continued_processor(arrays, champion, fitted)
    assert continued.mean.tolist() == [0.5] * 3 and continued.view_shape == (3,)
    assert Vectors().continued_processor(arrays, {}, fitted).view_shape == (6,)


def vectors(folder: Path, width: int, *, masked: bool) -> VectorProcessor:
    """Write the files of a champion that takes vectors, and return its processor."""
    processor = VectorProcessor(np.zeros(width, np.float32), np.ones(width, np.float32), masked=masked)
    spec = TrainingSpec(views="scarf", encoder="mlp", encoder_options={"hidden": 4, "features": 3})
    folder.mkdir()
    save_weights(EmbeddingModel(processor, assemble(spec).encoder.build(processor.view_shape)), folder / WEIGHTS)
    (folder / SPEC).write_text(json.dumps({"training": spec.model_dump(mode="json")}))
    return processor


def test_a_champion_of_vectors_without_missing_values_is_retrained_on_some_with_them(tmp_path: Path) -> None:
    """The encoder takes no mask, and goes on without one; that of the data would be of another shape."""
    vectors(tmp_path / "champion", 9, masked=False)
    spec = TrainingSpec(views="scarf", encoder="mlp", encoder_options={"hidden": 4, "features": 3})
    for width in (9, 8):
        tonight = vectors(tmp_path / f"tonight-{width}", width, masked=True).state_dict()
        arrays = (ArraySpec("float32", (width,)),)

        def continued(state: Mapping[str, Tensor], arrays: Specs = arrays, tonight: Any = tonight) -> Processor:
            return Vectors().continued_processor(arrays, state, tonight)

        if width == 9:
            check_initial_weights(tmp_path / "champion", assemble(spec), champion="models:/a/1", continued=continued)
            continue
        with pytest.raises(SpecError, match=r"for these samples, but models:/a/1 has .* for inputs of another shape"):
            check_initial_weights(tmp_path / "champion", assemble(spec), champion="models:/a/1", continued=continued)
