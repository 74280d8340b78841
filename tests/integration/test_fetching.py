"""The README's ways to fetch a model, each run as it is written there, by someone who has mlflow and torch alone.

The environment is made anew for these tests: some 6 GB for two minutes, removed afterwards.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from servers import free_port
from small_training import JobOf

from cl_core.data.cache import build_cache, load_split
from cl_core.data.ingest.pipeline import ingest_source
from cl_core.evaluation import representations
from cl_core.evaluation.runner import assess
from cl_core.export import EmbeddingModel
from cl_core.refs import CheckpointRef, EvaluationReport, Lineage
from cl_core.report.summary import fetch_lines
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec
from cl_core.training.components import assemble, training_digest
from cl_core.training.job import TrainingJob
from cl_core.training.loop import train
from tasks.adapters.mlflow.model_store import ModelStore
from tasks.adapters.mlflow.model_version import Registration

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
NAME, PORT = "fashion-mnist", "5001"
CLOSE = 1e-5


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the programs of a new virtual environment with mlflow and torch, of the versions of the lock."""
    folder = tmp_path_factory.mktemp("environment")
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        programs = folder / "bin"
        # What is imported is compiled then: some hundredth of it.
        options = ["--quiet", "--no-compile", "-c", ROOT / "requirements.lock"]
        install = [programs / "pip", "install", *options, "mlflow", "torch"]
        subprocess.run(install, check=True, stderr=subprocess.DEVNULL)
        yield programs
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def readme() -> list[str]:
    """The blocks of code of the page on fetching, in their order."""
    page = (ROOT / "docs" / "how-to" / "fetch-a-model.md").read_text()
    section = page.partition("<!-- fetching: run by tests/integration/test_fetching.py -->")[2]
    return re.findall(r"```\w+\n(.*?)```", section.partition("<!-- end of fetching -->")[0], re.DOTALL)


@pytest.fixture
def champion(job_of: JobOf, tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A folder with images.npy and an MLflow in which a trained encoder is the champion; and what the trained
    encoder itself says of the images.
    """
    return championed(job_of("training", epochs=1, warmup_epochs=0.1), tmp_path)


@pytest.fixture
def champion_of_vectors(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """The same of vectors, in vectors.npy; some of their values are missing."""
    options = {"count": 320, "classes": 4}
    data = DataSpec(name="numbers", source="synthetic", modality="vector", source_options=options)
    return championed(job_on(data, tmp_path, views="scarf", encoder="mlp"), tmp_path)


@pytest.fixture
def champion_of_captions(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """The same of images with texts, in images.npy and texts.npy; what both towers say of them, (2, N, D)."""
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(160):
        file = tmp_path / "pictures" / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file)
        file.with_suffix(".txt").write_text(f"picture number {number}")
    data = DataSpec(
        name="captions",
        source="captioned_folder",
        location=str(tmp_path / "pictures"),
        modality="image_text",
        modality_options={"size": 8, "length": 32, "buckets": 64},
    )
    towers = {"image": {"name": "mlp", "options": {"hidden": 8}}, "text": {"name": "bag", "options": {"features": 8}}}
    job = job_on(data, tmp_path, method="clip", encoder="two_towers", encoder_options=towers)
    checkpoint = registered(job, tmp_path)
    trained, both = representations.trained(job, checkpoint.path), []
    for side, rows in enumerate(load_split(job.cache, "test").columns.take(slice(None))):
        np.save(tmp_path / f"{('image', 'text')[side]}s.npy", rows)
        features = trained.embed((rows,), side)
        both.append(features / np.linalg.norm(features, axis=1, keepdims=True))
    return tmp_path, np.stack(both)


def job_on(data: DataSpec, folder: Path, **changes: object) -> TrainingJob:
    """A training of one epoch on these data, with all that it needs in a folder; changes are fields of its spec."""
    snapshot = ingest_source(data, datasets=folder / "datasets").snapshot
    short = {"epochs": 1, "warmup_epochs": 0.1, "held_out_share": 0, "batch_size": 64, "precision": "fp32"}
    parts = assemble(TrainingSpec.model_validate({**short, **changes}))
    return TrainingJob(
        digest=training_digest(parts, snapshot_digest=snapshot.digest, modality=data.built_modality),
        snapshot=snapshot,
        data=data,
        parts=parts,
        compute=ComputeSpec(threads=1),
        cache=build_cache(snapshot, data.built_modality, caches=folder / "caches"),
        folder=folder / "training",
    )


def championed(job: TrainingJob, tmp_path: Path) -> tuple[Path, np.ndarray]:
    checkpoint = registered(job, tmp_path)
    rows = load_split(job.cache, "test").column.take(slice(None))
    if job.data.modality == "vector":
        rows[::7, 0] = np.nan
    np.save(tmp_path / f"{job.modality.unit}s.npy", rows)
    features = representations.trained(job, checkpoint.path).embed((rows,))
    return tmp_path, features / np.linalg.norm(features, axis=1, keepdims=True)


def registered(job: TrainingJob, tmp_path: Path) -> CheckpointRef:
    """Train, and make the result the champion in an MLflow of its own."""
    checkpoint = train(job)
    store = ModelStore(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts", tmp_path / "work")
    encoder = representations.trained_encoder(job, checkpoint.path)
    evaluation = EvaluationSpec(protocols=["geometry"], resamples=100)
    version = store.register(
        Registration(
            name=NAME,
            build_model=lambda: EmbeddingModel(job.processor, encoder),
            snapshot=job.snapshot,
            takes=job.model_input,
            checkpoint=checkpoint,
            evaluation=measured(job, checkpoint.path, evaluation, tmp_path),
            specs={"data": job.data, "training": job.training, "evaluation": evaluation},
            curves=[],
            lineage=Lineage(),
        )
    )
    store.promote(NAME, version.version, "to be fetched")
    return checkpoint


def measured(job: TrainingJob, checkpoint: Path, evaluation: EvaluationSpec, folder: Path) -> EvaluationReport:
    trained = assess(
        representations.trained(job, checkpoint),
        evaluation,
        embeddings=folder / "embeddings",
        evaluations=folder / "evaluations",
    )
    return EvaluationReport(
        digest="e" * 64,
        training_digest=job.digest,
        snapshot_digest=job.snapshot.digest,
        path=folder,
        representations={"trained": trained.report},
        left_out=[],
    )


def settings(environment: Path, folder: Path) -> dict[str, str]:
    """What a stranger's shell says: where MLflow is, that nothing may be unpickled, and nothing of this project."""
    return {
        "PATH": f"{environment}:/usr/bin:/bin",
        "HOME": str(folder),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "OMP_NUM_THREADS": "1",
    }


def run(command: list[str], environment: Path, folder: Path) -> str:
    """What a command prints, in a stranger's shell."""
    done = subprocess.run(
        command, cwd=folder, env=settings(environment, folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readmes_lines_fetch_the_champion_where_there_is_only_mlflow_and_torch(
    environment: Path, readme: list[str], champion: tuple[Path, np.ndarray]
) -> None:
    folder, wanted = champion
    numpy_lines, torch_lines, serve_line, ask_lines = readme
    assert run(["pip", "list", "--format", "freeze"], environment, folder).count("counterpoint") == 0

    for lines, way in ((numpy_lines, "mlflow.pyfunc.load_model"), (torch_lines, "mlflow.pytorch.load_model")):
        assert way in lines and "cl_core" not in lines
        saved = f"{lines}\nimport numpy\nnumpy.save('embeddings.npy', numpy.asarray(embeddings))\n"
        run(["python", "-c", saved], environment, folder)
        np.testing.assert_allclose(np.load(folder / "embeddings.npy"), wanted, atol=CLOSE)

    assert serve_line.startswith(f"mlflow models serve --model-uri models:/{NAME}@champion")
    port = str(free_port())
    with serving(serve_line.replace(PORT, port), port, environment, folder):
        answer = json.loads(run(["sh", "-e", "-c", ask_lines.replace(PORT, port)], environment, folder))
    np.testing.assert_allclose(answer["predictions"], wanted, atol=CLOSE)


def test_the_lines_of_a_report_fetch_a_champion_of_vectors(
    environment: Path, champion_of_vectors: tuple[Path, np.ndarray]
) -> None:
    folder, wanted = champion_of_vectors
    lines = fetch_lines(f"models:/{NAME}@champion", "vector")
    card = re.findall(r"```python\n(.*?)```", the_card(folder), re.DOTALL)
    for written in ("\n".join(lines), card[0]):
        assert "mlflow.pyfunc.load_model" in written and "cl_core" not in written
        loaded = f"import numpy\nvectors = numpy.load('vectors.npy')\n{written}\n"
        run(["python", "-c", f"{loaded}numpy.save('embeddings.npy', embeddings)"], environment, folder)
        found = np.load(folder / "embeddings.npy")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=CLOSE)


def test_the_lines_of_a_report_fetch_both_programs_of_a_champion_of_captions(
    environment: Path, champion_of_captions: tuple[Path, np.ndarray]
) -> None:
    folder, wanted = champion_of_captions
    lines = fetch_lines(f"models:/{NAME}@champion", "image_text")
    card = re.findall(r"```python\n(.*?)```", the_card(folder), re.DOTALL)
    for written in ("\n".join(lines), card[0]):
        assert written.count("text.pt2") == 1 and "cl_core" not in written
        loaded = f"import numpy\nimages, texts = numpy.load('images.npy'), numpy.load('texts.npy')\n{written}\n"
        saved = "numpy.save('both.npy', numpy.stack([embeddings, text_embeddings.detach().numpy()]))"
        run(["python", "-c", f"{loaded}{saved}"], environment, folder)
        np.testing.assert_allclose(np.load(folder / "both.npy"), wanted, atol=CLOSE)


def the_card(folder: Path) -> str:
    """What the version's page in MLflow shows."""
    description: str = MlflowClient(f"sqlite:///{folder}/mlflow.db").get_model_version(NAME, "1").description
    return description


@contextlib.contextmanager
def serving(line: str, port: str, environment: Path, folder: Path) -> Iterator[None]:
    """`mlflow models serve` as a process of its own, once it answers."""
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            ["sh", "-c", line],
            cwd=folder,
            env=settings(environment, folder),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 120
            while not answers(port):
                assert process.poll() is None and time.monotonic() < deadline, (folder / "serve.log").read_text()
                time.sleep(0.2)
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
            return True
    except OSError:
        return False
