"""Messages, help, forms, comments and names of tests are in plain words; tests/words.py lists the words that went."""

import ast
import re
from pathlib import Path

import pytest
from words import offenders

ROOT = Path(__file__).parents[1]
# Reads specs, tags and manifests that were stored with the old words.
EXEMPT = {"cl_core/specs/renamed.py"}


def sentences(tree: ast.Module) -> list[ast.Constant]:
    """Return the string constants that people read: docstrings, and strings of more than one word."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip()
    ]


# In parts, of which each takes half a second.
@pytest.mark.parametrize("part", ["cl_core/[a-e]*", "cl_core/[!a-e]*", "tasks", "flows"])
def test_no_message_of_the_product_has_a_word_that_went(part: str):
    found = []
    for path in sorted(
        path for top in ROOT.glob(part) for path in ([top] if top.suffix == ".py" else top.rglob("*.py"))
    ):
        name = path.relative_to(ROOT).as_posix()
        if name in EXEMPT:
            continue
        texts = sentences(ast.parse(path.read_text()))
        # All texts of a file at once, which is quicker; one by one only where there is something to name.
        for node in texts if offenders("\n".join(node.value for node in texts), names=False) else []:
            found += [f"{name}:{node.lineno}: {offender}" for offender in offenders(node.value, names=False)]
    assert found == []


def test_no_test_has_a_word_that_went_in_its_name_or_docstring():
    """Read by regular expressions, since parsing all tests takes a second."""
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        source = path.read_text()
        names = re.findall(r"^ *def (test_\w+)", source, re.MULTILINE)
        docstrings = re.findall(r'(?:\A|:\n +)"""(.*?)"""', source, re.DOTALL)
        texts = [name.replace("_", " ") for name in (path.stem, *names)] + docstrings
        for text in texts if offenders("\n".join(texts), names=False) else ():
            found += [f"{path.relative_to(ROOT)}: {text!r}: {offender}" for offender in offenders(text, names=False)]
    assert found == []


def test_no_template_comment_or_change_has_a_word_that_went():
    """Code in them is left out: names of a template's values, and names that the changes say are renamed."""
    paths = [path for top in ("cl_core", "tasks", "flows") for path in sorted((ROOT / top).rglob("*.*"))]
    texts = {path: re.findall(r"(?:^|\s)# (.*)", path.read_text()) for path in paths if path.suffix == ".py"}
    templates = [path for path in paths if path.suffix in (".j2", ".html")]
    texts |= {path: [re.sub(r"{[{%].*?[}%]}", "", path.read_text(), flags=re.DOTALL)] for path in templates}
    texts |= {path: [path.read_text()] for path in (ROOT / "Makefile", ROOT / "pyproject.toml")}
    changes = ROOT / "CHANGELOG.md"
    texts[changes] = [re.sub(r"`[^`\n]*`", "", changes.read_text())]
    assert len(templates) > 5
    found = [
        f"{path.relative_to(ROOT)}: {offender}"
        for path, lines in texts.items()
        if path.relative_to(ROOT).as_posix() not in EXEMPT
        for offender in offenders("\n".join(lines), names=False)
    ]
    assert found == []
