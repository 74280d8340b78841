"""The errors that Counterpoint raises, and the exit codes of `cl`."""

import ast
import inspect

from reference.markdown import code, document, table
from reference.source_code import nodes

_BASE = "CounterpointError"
_EXITS = (
    ("0", "The command did what was asked."),
    ("1", "Something failed, or `cl doctor` found a problem."),
    ("2", "Invalid input, or missing permissions."),
    ("130", "Interrupted with Ctrl-C. The same command resumes from the last checkpoint."),
)


def page() -> str:
    """Return the page of the errors."""
    classes = error_classes()
    rows = [
        (code(name), code(entry.base), entry.text, "yes" if retried(name, classes) else "no", exit_code(name, classes))
        for name, entry in classes.items()
    ]
    return document(
        "Errors and exit codes",
        "Every message says what was wanted, what came, and what to do. "
        "[Troubleshooting](../troubleshooting.md) has an entry for each error.",
        "## Error classes",
        "*Retried* says whether Prefect runs the step again, with a growing delay, before the run fails.",
        table(("class", "base", "meaning", "retried", "exit code"), rows),
        "## Exit codes of `cl`",
        table(("code", "meaning"), _EXITS),
    )


class ErrorClass:
    """An error class as its source declares it."""

    def __init__(self, node: ast.ClassDef) -> None:
        self.base = ast.unparse(node.bases[0])
        self.text = inspect.cleandoc(ast.get_docstring(node) or "").partition("\n")[0]
        self.retriable = next(
            (
                bool(ast.literal_eval(line.value))
                for line in node.body
                if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == "retriable" and line.value
            ),
            None,
        )


def error_classes() -> dict[str, ErrorClass]:
    """Return the classes of the tree by name, bases first."""
    declared = {node.name: ErrorClass(node) for _, node in nodes() if isinstance(node, ast.ClassDef) and node.bases}
    classes = {_BASE: ErrorClass(_root())}
    grew = True
    while grew:
        below = {name: each for name, each in declared.items() if name not in classes and each.base in classes}
        classes |= below
        grew = bool(below)
    return classes


def retried(name: str, classes: dict[str, ErrorClass]) -> bool:
    """Return whether a step that raises this error is retried."""
    entry = classes.get(name)
    if entry is None:
        return False
    return entry.retriable if entry.retriable is not None else retried(entry.base, classes)


def exit_code(name: str, classes: dict[str, ErrorClass]) -> str:
    """Return the exit code of a command that ends with this error."""
    while name in classes:
        if name == "InputError":
            return "2"
        name = classes[name].base
    return "1"


def _root() -> ast.ClassDef:
    return next(node for _, node in nodes() if isinstance(node, ast.ClassDef) and node.name == _BASE)
