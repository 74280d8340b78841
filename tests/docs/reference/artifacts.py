"""The artifacts that a run leaves in the Prefect UI."""

import ast

from reference.markdown import code, document, table
from reference.source_code import trees

CONTENT = {
    "data-profile": "What the run trains on: samples, classes, quarantine, near-duplicates, and what changed.",
    "decision": "The gate's or a person's decision, its reason, and the champion after it.",
    "embedding-progress": "Inputs embedded so far, of all.",
    "links": "MLflow run, model version and report.",
    "prune": "What was deleted, or would be, with sizes and reasons.",
    "retrain-report": "The report in short: decision, scores, loss curve, and how to load the model.",
    "scores": "Scores with their 95 % intervals, beside the baselines and the champion.",
    "time-accounting": "Seconds, CPU seconds and GPU seconds of each step, and what retries cost.",
    "training-progress": "Epoch, step, loss and other figures, images per second, time left.",
}
_KINDS = {"create_markdown_artifact": "Markdown", "create_table_artifact": "table", "ArtifactCreate": "table",
          "create_progress_artifact": "progress", "create_link_artifact": "link"}  # fmt: skip


def page() -> str:
    """Return the page of the artifacts."""
    return document(
        "Prefect artifacts",
        "A flow run writes these artifacts. They are on the run's page under *Artifacts*; artifacts with the same key "
        "form a history under *Artifacts* in the side bar.",
        table(("key", "kind", "content", "written by"), sorted(_rows())),
    )


def _rows() -> list[tuple[str, str, str, str]]:
    rows = []
    for path, tree in trees().items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                rows += [(code(key), kind, CONTENT[key], code(path)) for key, kind in _artifacts(function)]
    return list(dict.fromkeys(rows))


def _artifacts(function: ast.FunctionDef) -> list[tuple[str, str]]:
    found = []
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _KINDS:
            keys = [keyword.value for keyword in node.keywords if keyword.arg == "key"]
            kind = _KINDS[ast.unparse(node.func).rpartition(".")[2]]
            found += [(str(key.value), kind) for key in keys if isinstance(key, ast.Constant)]
    return found
