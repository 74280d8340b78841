"""`cl retrain` beside a script that does its work without Prefect, Ray and MLflow; `BLOCK=orchestration make bench`.

Both are programs of their own, ingest and cache once, and then train with a new seed in each round, evaluate the
trained encoder, the untrained one and the baseline, and export a program. `cl retrain` also runs each as a task, keeps
its results, registers a version, compares it with the champion and writes a report. Before times are compared, both
must have trained the same weights.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from itertools import count
from pathlib import Path

from cold_start import command
from rounds import Contestant, end_if_void, measure, spread, this_machine

from cl_core.hashing import file_sha256

PLAIN = "a script without Prefect, Ray, MLflow"


def recipe(*, images: int) -> dict[str, object]:
    """Return images of shapes, and a training of some seconds of which nothing is random but the seed."""
    return {
        "model_name": "shapes",
        "data": {"name": "shapes", "source": "synthetic", "source_options": {"count": images, "size": 28}},
        "training": {"epochs": 1, "batch_size": 256, "warmup_epochs": 0.1, "precision": "fp32"},
    }


def plain(file: Path, folder: Path, seed: int) -> None:
    """Do the work of a retraining by calling one function after the other."""
    import torch
    from jobs import prepared_job

    from cl_core.evaluation import representations
    from cl_core.evaluation.runner import assess
    from cl_core.export import EmbeddingModel, export_program
    from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, TrainingSpec
    from cl_core.training.loop import train

    values = json.loads(file.read_text())
    training = TrainingSpec.model_validate({**values["training"], "seed": seed})
    job = prepared_job(DataSpec.model_validate(values["data"]), training, ComputeSpec(threads=2), folder)
    checkpoint = train(job)
    for one in (
        representations.trained(job, checkpoint.path),
        representations.untrained(job),
        representations.baseline(job),
    ):
        assess(one, EvaluationSpec(), embeddings=folder / "embeddings", evaluations=folder / "evaluations")
    model = EmbeddingModel(job.processor, representations.trained_encoder(job, checkpoint.path))
    torch.export.save(export_program(model), folder / "model.pt2")


def weights(home: Path) -> set[str]:
    """Return the checksum of the weights of each training below a folder."""
    return {file_sha256(file) for file in home.glob("trainings/*/checkpoints/*/method.safetensors")}


def main() -> None:
    """Print seconds of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="one round on few images, to see that everything runs")
    parser.add_argument("--plain", nargs=3, metavar=("RECIPE", "FOLDER", "SEED"))
    chosen = parser.parse_args()
    if chosen.plain:
        file, folder, seed = chosen.plain
        plain(Path(file), Path(folder), int(seed))
        return
    with tempfile.TemporaryDirectory() as made:
        folder, cl = Path(made), str(Path(sys.executable).with_name("cl"))
        (home := folder / "home").mkdir()
        (beside := folder / "plain").mkdir()
        file = folder / "recipe.json"
        file.write_text(json.dumps(recipe(images=600 if chosen.small else 3_000)))
        named = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "CL_HOME")
        environment = {name: value for name, value in os.environ.items() if name not in named}
        environment |= {"CL_HOME": str(home)}
        seeds = {name: count() for name in (PLAIN, "cl retrain")}

        def run_plain() -> int:
            arguments = [sys.executable, __file__, "--plain", str(file), str(beside), str(next(seeds[PLAIN]))]
            return command(arguments, environment)()

        def run_retrain() -> int:
            seed = str(next(seeds["cl retrain"]))
            return command(
                [cl, "retrain", "--recipe", str(file), "--training.seed", seed, "--compute.threads", "2"], environment
            )()

        turns = {PLAIN: Contestant(run_plain), "cl retrain": Contestant(run_retrain)}
        measured = measure(turns, rounds=1 if chosen.small else chosen.rounds)
        assert weights(home) == weights(beside) != set(), "both must train the same weights"
        print(f"{this_machine()}\n\n| | seconds | times the script | seconds more |\n|---|---|---|---|")
        script = [1 / rate for rate in measured.rates[PLAIN]]
        for name, rates in measured.rates.items():
            more = [1 / rate - its for rate, its in zip(rates, script, strict=True)]
            ratios = [1 / ratio for ratio in measured.against(name, PLAIN)]
            seconds = statistics.median(1 / rate for rate in rates)
            print(f"| {name} | {seconds:.1f} | {spread(ratios, '{:.2f}')} | {spread(more)} |")
    end_if_void(measured, small=chosen.small)


if __name__ == "__main__":
    main()
