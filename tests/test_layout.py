"""What holds for every module of the product: its size, its place, and where the environment is read."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_LINES = 250
MOST_LOOSE_FILES = 10
# The roots that confine paths deny when they cannot be read; docs/decisions has the reason.
READ_THE_ENVIRONMENT = {"cl_core/data/path_roots.py", "tasks/runtime/process_environment.py"}
STARTS_A_PROCESS = {"Popen", "run", "call", "check_call", "check_output"}


def sources() -> dict[str, str]:
    return {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for top in ("cl_core", "tasks", "flows")
        for path in sorted((ROOT / top).rglob("*.py"))
    }


def test_every_module_has_at_most_250_lines():
    lines = {name: len(text.splitlines()) for name, text in sources().items()}
    assert len(lines) > 200
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_cl_core_has_at_most_ten_loose_files():
    loose = sorted(path.name for path in (ROOT / "cl_core").glob("*.py") if path.name != "__init__.py")
    assert len(loose) <= MOST_LOOSE_FILES, loose


def test_two_modules_read_the_environment():
    pattern = re.compile(r"\bos\.(environ|getenv|putenv|unsetenv)|\bfrom os import .*(environ|getenv)")
    assert {name for name, text in sources().items() if pattern.search(text)} == READ_THE_ENVIRONMENT


def test_every_process_is_given_its_environment():
    calls = {
        (name, call.lineno): {keyword.arg for keyword in call.keywords}
        for name, text in sources().items()
        if "subprocess" in text
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "subprocess"
        and call.func.attr in STARTS_A_PROCESS
    }
    assert calls
    assert [place for place, keywords in calls.items() if "env" not in keywords] == []
    assert [
        name for name, text in sources().items() if re.search(r"from subprocess import|\bos\.(system|spawn)", text)
    ] == []
