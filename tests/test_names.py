"""No two unrelated modules or public functions share a name: whoever looks for one finds it at the first try."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
# A component file is named after its component, so a loss and a method may share a name. The helpers beside it, in
# files with an underscore and in packages, have names of their own.
COMPONENT_FOLDERS = {
    f"cl_core/{folder}"
    for folder in ("losses", "methods", "encoders", "views", "data/sources", "evaluation/protocols", "modalities")
}
# A spec, what obeys it, and the step that runs that.
RELATED_MODULES = {"data", "embedding", "evaluation", "training"}


def files() -> list[str]:
    return sorted(
        path.relative_to(ROOT).as_posix()
        for top in ("cl_core", "tasks", "flows")
        for path in (ROOT / top).rglob("*.py")
    )


def is_exempt(path: str) -> bool:
    """Return whether a file is named after its component, or after what every adapter has."""
    folder, name = path.rsplit("/", 1)
    return name in {"__init__.py", "compat.py"} or (folder in COMPONENT_FOLDERS and not name.startswith("_"))


def shared(names: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in names.items() if len(places) > 1}


def test_no_two_modules_share_a_name():
    modules = defaultdict(list)
    for path in files():
        if path.endswith("/__init__.py"):
            modules[Path(path).parent.name].append(path)
        elif not is_exempt(path):
            modules[Path(path).stem.removeprefix("_")].append(path)
    assert {name: places for name, places in shared(modules).items() if name not in RELATED_MODULES} == {}


def test_no_two_public_functions_or_classes_share_a_name_unless_one_is_the_flow_of_the_other():
    names = defaultdict(list)
    for path in files():
        if not is_exempt(path):
            for node in ast.parse((ROOT / path).read_text()).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                    names[node.name].append(path)
    # A flow and its step: `flows/stages.py:ingest` runs `tasks/ingestion.py:ingest`.
    pairs = {
        name
        for name, places in names.items()
        if [place.split("/")[0] for place in sorted(places)] == ["flows", "tasks"]
    }
    assert {name: places for name, places in shared(names).items() if name not in pairs} == {}
