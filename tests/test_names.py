"""No two unrelated modules or public functions share a name: whoever looks for one finds it at the first try."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
# A component file is named after its component, so a loss and a method may share a name.
COMPONENTS = tuple(
    f"cl_core/{folder}/"
    for folder in ("losses", "methods", "encoders", "views", "data/sources", "evaluation/protocols", "modalities")
)
# A spec and the step that obeys it.
RELATED_MODULES = {"evaluation", "training"}


def files() -> list[str]:
    paths = [
        path.relative_to(ROOT).as_posix()
        for top in ("cl_core", "tasks", "flows")
        for path in (ROOT / top).rglob("*.py")
    ]
    return [
        path for path in paths if not path.startswith(COMPONENTS) and not path.endswith(("__init__.py", "compat.py"))
    ]


def shared(names: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in names.items() if len(places) > 1}


def test_no_two_modules_share_a_name():
    modules = defaultdict(list)
    for path in files():
        modules[Path(path).stem].append(path)
    assert {name: places for name, places in shared(modules).items() if name not in RELATED_MODULES} == {}


def test_no_two_public_functions_or_classes_share_a_name_unless_one_is_the_flow_of_the_other():
    names = defaultdict(list)
    for path in files():
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
