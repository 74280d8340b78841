"""A command that has nothing to do, beside a Prefect flow of seven empty tasks; `BLOCK=cold_start make bench`.

Both start an interpreter and Prefect's temporary server over a database that exists, and end. A retraining whose data,
spec and code are unchanged runs seven steps, each of which finds its result.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from rounds import Contestant, end_if_void, ended, measure, spread, this_machine

# Seconds of training: what is measured begins when there is nothing left to train.
RECIPE = {
    "model_name": "shapes",
    "data": {"name": "shapes", "source": "synthetic", "source_options": {"count": 400, "size": 16}, "image_size": 16},
    "training": {"encoder": "mlp", "epochs": 1, "batch_size": 64, "warmup_epochs": 0.1, "precision": "fp32"},
    "evaluation": {"resamples": 200},
    "compute": {"threads": 1},
}
SEVEN_TASKS = """
from prefect import flow, task

@task
def empty():
    pass

@flow
def seven():
    for _ in range(7):
        empty()

seven()
"""
_LISTED = 15
_IMPORT = re.compile(r"import time:\s+\d+ \|\s+(\d+) \| (\s*)(\S+)")


def command(arguments: list[str], environment: Mapping[str, str]) -> Callable[[], int]:
    """Return a turn that runs a program to its end."""

    def run() -> int:
        ended(arguments, environment)
        return 1

    return run


def longest_imports(arguments: list[str], environment: Mapping[str, str]) -> list[tuple[float, str]]:
    """Return seconds and name of the packages whose import takes longest, those they import included."""
    ran = ended([sys.executable, "-X", "importtime", *arguments], environment)
    seconds: dict[str, float] = {}
    for microseconds, _, module in _IMPORT.findall(ran.stderr):
        seconds[module] = max(seconds.get(module, 0.0), int(microseconds) / 1e6)
    return sorted(((taken, module) for module, taken in seconds.items()), reverse=True)[:_LISTED]


def main() -> None:
    """Print seconds of both, their ratio, and what the start of a retraining imports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="one round, to see that everything runs")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder, cl = Path(made), str(Path(sys.executable).with_name("cl"))
        (folder / "recipe.json").write_text(json.dumps(RECIPE))
        (folder / "seven.py").write_text(SEVEN_TASKS)
        named = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "CL_HOME")
        inherited = {name: value for name, value in os.environ.items() if name not in named}
        inherited |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "ERROR"}
        theirs = {
            **inherited,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
            # Prefect's 20 s pass before its server answers on a busy machine with slow cores.
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        }
        mine = {**inherited, "CL_HOME": str(folder / "home")}
        retraining = [cl, "retrain", "--recipe", str(folder / "recipe.json")]
        measured = measure(
            {
                "seven empty tasks": Contestant(command([sys.executable, str(folder / "seven.py")], theirs)),
                "cl retrain, nothing changed": Contestant(command(retraining, mine)),
            },
            rounds=1 if chosen.small else chosen.rounds,
        )
        print(f"{this_machine()}\n\n| command | seconds | times seven empty tasks |\n|---|---|---|")
        for name, rates in measured.rates.items():
            ratios = [1 / ratio for ratio in measured.against(name, "seven empty tasks")]
            print(f"| {name} | {statistics.median(1 / rate for rate in rates):.1f} | {spread(ratios, '{:.2f}')} |")
        print("\nLongest imports of `cl retrain`, each with what it imports:\n\n| seconds | module |\n|---|---|")
        for seconds, module in longest_imports(retraining, mine):
            print(f"| {seconds:.2f} | `{module}` |")
    end_if_void(measured, small=chosen.small)


if __name__ == "__main__":
    main()
