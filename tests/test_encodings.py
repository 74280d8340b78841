"""Every text file is UTF-8 by name: in a Latin-1 locale Python would take another encoding."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Their own functions and those of others that are called the same, and take no encoding.
OURS = {"artifact_dir.write_text", "Image.open"}
NAMES = re.compile(r"\b(?:read_text|write_text|open|fdopen|NamedTemporaryFile)\(")


def texts(tree: ast.Module) -> list[ast.Call]:
    """Return the calls that read or write a text file."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        mode = "".join(str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))
        is_file = name in {"read_text", "write_text"} and isinstance(node.func, ast.Attribute)
        is_file = is_file or (name in {"open", "fdopen", "NamedTemporaryFile"} and mode in {"r", "w", "a", "x"})
        if is_file and ast.unparse(node.func) not in OURS:
            found.append(node)
    return found


def test_every_text_file_of_the_product_is_read_and_written_as_utf_8():
    calls = {
        f"{path.relative_to(ROOT)}:{call.lineno}": {keyword.arg for keyword in call.keywords}
        for top in ("cl_core", "tasks", "flows")
        for path in sorted((ROOT / top).rglob("*.py"))
        # To parse all modules would take longer than a unit test may.
        if NAMES.search(source := path.read_text(encoding="utf-8"))
        for call in texts(ast.parse(source))
    }
    assert len(calls) > 30
    assert [place for place, keywords in calls.items() if "encoding" not in keywords] == []
