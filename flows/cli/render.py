"""Show the result of a command: as tables and lines for a person, or as one JSON document. Both go to stdout.

Only the module that a result comes from knows its type without importing more, so renderers are found by the type's
name; tests/flows/test_commands.py compares them with the annotations of all commands.
"""

import resource
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from flows.cli import result_tables
from tasks.runtime.settings import Settings

if TYPE_CHECKING:
    from cl_core.refs import RetrainResult
    from flows.cli.operations import Stopped


def render(result: Any, *, seconds: float) -> int:
    """Print a result for a person.

    Args:
        result: What a command returned.
        seconds: Wall time of the command, without the start of the process.

    Returns:
        The exit code: 1 when the result is that something is wrong.
    """
    if type(result).__name__ == "RetrainResult":
        _show_retraining(result, seconds)
    else:
        RENDERERS[type(result).__name__](result)
    return _exit_code(result)


def render_json(result: Any) -> int:
    """Print a result as one JSON document; return the exit code."""
    sys.stdout.write(to_json(result, indent=2, inf_nan_mode="null").decode() + "\n")
    return _exit_code(result)


def _exit_code(result: Any) -> int:
    return 1 if getattr(result, "problems", None) else 0


def _show_retraining(result: "RetrainResult", seconds: float) -> None:
    """Print the scores, the registered model, the gate's decision, the report, and how to fetch the model."""
    import psutil

    from cl_core.report.reasons import decision_sentence
    from cl_core.report.summary import fetch_lines
    from tasks.adapters.mlflow.connection import redacted_uri

    console = result_tables.wide_console()
    result_tables.show_scores(result.evaluation)
    console.print(f"\nModel    {result.model.uri}")
    console.print(f"Gate     {decision_sentence(result.decision)}")
    console.print(f"Report   {result.report.path}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    total = time.time() - psutil.Process().create_time()
    console.print(f"Took     {seconds:.0f} s in the flow, {total:.0f} s in all; peak memory {peak:.1f} GiB")
    champion = f"models:/{result.model.name}@champion" if result.decision.champion else result.model.uri
    address = redacted_uri(Settings.from_environment().tracking_uri)
    console.print(f"\nFetch it (with MLFLOW_TRACKING_URI={shlex.quote(address)}):\n", soft_wrap=True)
    for line in fetch_lines(champion, result.snapshot.modality):
        console.print(f"    {line}", soft_wrap=True)


def _show_path(result: Any) -> None:
    """Print where the result is: a file or folder."""
    print(result.path)


def _show_stopped(stopped: "Stopped") -> None:
    """Print what `cl down` stopped."""
    if stopped.supervisor:
        print("Stopped `cl up` and its services.")
    if stopped.orphans:
        print(f"Stopped {', '.join(stopped.orphans)}, left running by a killed `cl up`.")
    for name in stopped.elsewhere:
        print(f"Left alone: the {name}, which a killed `cl up` recorded; it cannot be stopped from here.")
    if not (stopped.supervisor or stopped.orphans or stopped.elsewhere):
        print("Nothing to stop: no `cl up` runs for this CL_HOME.")


RENDERERS: Mapping[str, Callable[[Any], None]] = {
    "SnapshotRef": _show_path,
    "ValidationReport": result_tables.show_validation,
    "CheckpointRef": _show_path,
    "EvaluationReport": result_tables.show_scores,
    "ModelRef": lambda model: print(model.uri),
    "ReportRef": _show_path,
    "EmbeddingsRef": _show_path,
    "Decision": result_tables.show_decision,
    "Comparison": result_tables.show_comparison,
    "FetchedModel": _show_path,
    "ModelVersions": result_tables.show_models,
    "SearchHits": result_tables.show_hits,
    "ClassifiedImages": result_tables.show_classified,
    "Explanation": result_tables.show_explanation,
    "Stopped": _show_stopped,
    "DoctorReport": result_tables.show_problems,
    "PruneResult": result_tables.show_pruned,
}
"""By the name of the result's type."""
