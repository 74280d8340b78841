"""What `make demo` takes after installation, step by step, and again where nothing changed; `BLOCK=demo make bench`.

Both runs are programs of their own: `cl retrain` with the demo's recipe, in an empty CL_HOME and then in the same one.
The first takes minutes, so it runs once; the machine is measured before, between and after.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from cold_start import RECIPE as SMALL
from rounds import MOST_DRIFT, Machine, drift, ended, this_machine

from cl_core.refs import RetrainResult
from cl_core.report.costs import step_costs
from cl_core.report.summary import score_rows
from tasks.runtime.run_log import logged_runs
from tasks.runtime.settings import Settings

RECIPE = Path(__file__).parents[2] / "infra" / "recipes" / "simclr-fashion.json"


def retrain(recipe: Path) -> tuple[float, RetrainResult]:
    """Run the demo's command; return its seconds, from the start of the program to its end, and its result."""
    began = time.perf_counter()
    program = [str(Path(sys.executable).with_name("cl")), "retrain", "--recipe", str(recipe), "--json"]
    done = ended(program, os.environ)
    return time.perf_counter() - began, RetrainResult.model_validate(json.loads(done.stdout))


def main() -> None:
    """Print seconds of each step, of both runs as a whole, and the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a recipe of seconds, to see that everything runs")
    chosen = parser.parse_args()
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    machine = Machine()
    with tempfile.TemporaryDirectory() as made:
        (small := Path(made) / "recipe.json").write_text(json.dumps(SMALL))
        recipe = small if chosen.small else RECIPE
        os.environ["CL_HOME"] = str(Path(made) / "home")
        measured = [machine.measured()]
        first_s, result = retrain(recipe)
        measured.append(machine.measured())
        again_s, _ = retrain(recipe)
        measured.append(machine.measured())
        again, first = logged_runs(Settings.from_environment())
    print(f"{this_machine()}\n\n| step | seconds | CPU seconds | again, seconds |\n|---|---|---|---|")
    second = {cost.step: cost.seconds for cost in step_costs(again.attempts)}
    for cost in step_costs(first.attempts):
        print(f"| {cost.step} | {cost.seconds:.1f} | {cost.cpu_seconds:.1f} | {second[cost.step]:.1f} |")
    print(f"| the whole program | {first_s:.1f} | | {again_s:.1f} |\n")
    for row in score_rows(result.evaluation):
        print(", ".join(f"{column}: {value}" for column, value in row.items()))
    print(f"\nDrift of the machine: {drift(measured):.0%}")
    if drift(measured) > MOST_DRIFT and not chosen.small:
        raise SystemExit(f"void: at most {MOST_DRIFT:.0%} of drift is allowed; run it again where nothing else runs")


if __name__ == "__main__":
    main()
