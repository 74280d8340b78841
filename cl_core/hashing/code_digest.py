"""Digest of code: what it computes, and nothing of how it is written, formatted or filed.

A training whose code is unchanged is not repeated. So a digest of code covers the modules that are named and what
they import, and leaves out what cannot change a result: comments, docstrings, layout, the names of files, messages.

The syntax tree is serialized here rather than by `ast.dump` or `ast.unparse`, whose output differs between versions
of Python.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any, NamedTuple

from cl_core.hashing import canonical_json, digest_of

# What modules share without it deciding any result: how errors are named, components found, values passed on,
# artifacts written and specs stored. A completed spec is in the digest by itself.
_SHARED = {"artifact_dir", "errors", "failpoints", "hashing", "processes", "refs", "registry", "specs"}

# Fields of nodes that follow from the rest or that only type checkers read.
_REDUNDANT_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})

# Keywords of pydantic's Field that are shown to people only.
_LABELS = frozenset({"title", "description"})


def code_digest(*modules: str, alone: Iterable[str] = ()) -> str:
    """Return the digest of the code of modules and of what they import, transitively.

    Imports are followed inside `cl_core` and inside the package of the module itself, which may be another
    distribution's. Neither the place nor the name of a file counts, so that a moved file changes no digest.

    Modules are dotted names. Of those in `alone`, imports are not followed.
    """
    digests = {_read(module).digest for module in alone}
    pending, seen = list(modules), set[str]()
    while pending:
        module = pending.pop()
        if module in seen:
            continue
        seen.add(module)
        digests.add(_read(module).digest)
        pending += imported_modules(module)
    return digest_of(sorted(digests - {""}))


def imported_modules(module: str) -> set[str]:
    """Return the modules that a module imports from `cl_core` or its own package, without infrastructure.

    What has no source, such as a compiled extension of another distribution, is left out.
    """
    return {name for name in _read(module).imports if not _is_infrastructure(name) and _file_of(name)}


def forget_code() -> None:
    """Read sources again at the next call; within a process, each file is otherwise read once."""
    _read.cache_clear()


class _Code(NamedTuple):
    digest: str  # Empty for a module without a statement, such as most `__init__` files.
    imports: tuple[str, ...]


@cache
def _read(module: str) -> _Code:
    """Read and serialize the source of one module."""
    file = _file_of(module)
    assert file is not None, f"there is no source file of module {module}"
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    reader = _Reader(frozenset({"cl_core", module.partition(".")[0]}), package)
    statements = reader.statements(ast.parse(file.read_bytes()).body)
    return _Code(digest_of(canonical_json(statements)) if statements else "", tuple(sorted(reader.imports)))


def _file_of(module: str) -> Path | None:
    """Return the source file of a module, without importing it."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec is None or not rest:
        return Path(spec.origin) if spec and spec.origin else None
    paths = [Path(place, *rest) for place in spec.submodule_search_locations or ()]
    files = (file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py"))
    return next((file for file in files if file.is_file()), None)


def _is_infrastructure(module: str) -> bool:
    top, *rest = module.split(".")
    return top == "cl_core" and not _SHARED.isdisjoint(rest[:1])


class _Reader:
    """Serializes the syntax tree of one module, and collects what it imports."""

    def __init__(self, own: frozenset[str], package: str) -> None:
        self.own = own  # Top-level packages whose modules are followed, and whose paths do not count.
        self.package = package  # Where relative imports start.
        self.imports: set[str] = set()

    def statements(self, body: list[ast.stmt]) -> list[Any]:
        """Return the statements of a block: first what it imports, in an order of its own, then what it does.

        A moved module changes how imports are sorted and joined, so each imported name is an entry by itself.
        """
        imports, others = list[list[str]](), list[Any]()
        for statement in body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                imports += self._imported(statement)
            elif not _is_silent(statement):
                others.append(self._node(statement))
        return [["imports", *sorted(imports)], *others] if imports else others

    def _imported(self, statement: ast.Import | ast.ImportFrom) -> Iterator[list[str]]:
        """Yield (module, name, alias) of what is imported; the module is left out where it is one of our own."""
        package = statement.module or "" if isinstance(statement, ast.ImportFrom) else ""
        if isinstance(statement, ast.ImportFrom) and statement.level:
            package = resolve_name("." * statement.level + package, self.package)
        for alias in statement.names:
            module, name = (alias.name, "") if isinstance(statement, ast.Import) else (package, alias.name)
            is_own = module.partition(".")[0] in self.own
            if is_own:
                submodule = f"{module}.{name}"
                self.imports.add(submodule if name and _file_of(submodule) else module)
            yield ["" if is_own else module, name, alias.asname or ""]

    def _node(self, value: Any) -> Any:
        """Return the JSON form of a node, of a list of nodes, or of a plain value."""
        if isinstance(value, list):
            is_block = bool(value) and all(isinstance(item, ast.stmt) for item in value)
            return self.statements(value) if is_block else [self._node(item) for item in value]
        if isinstance(value, ast.Constant):
            return ["Constant", type(value.value).__name__, repr(value.value)]
        if not isinstance(value, ast.AST):
            return value
        form: dict[str, Any] = {"node": type(value).__name__}
        for name, field in ast.iter_fields(value):
            shown = None if name in _REDUNDANT_FIELDS else _without_texts(value, name, field)
            # Newer versions of Python add fields, which are empty where the new syntax is not used.
            if shown is not None and shown != []:
                form[name] = self._node(shown)
        return form


def _is_silent(statement: ast.stmt) -> bool:
    """Whether a statement changes no result: `pass`, a docstring, a line of the log."""
    match statement:
        case ast.Pass() | ast.Expr(ast.Constant(str())) | ast.Expr(ast.Call(ast.Attribute(ast.Name("logger")))):
            return True
    return False


def _without_texts(node: ast.AST, name: str, field: Any) -> Any:
    """Return a field of a node without what only people read: messages of errors, labels of options."""
    if isinstance(node, ast.Assert) and name == "msg":
        return None
    if isinstance(node, ast.Raise) and name == "exc" and isinstance(field, ast.Call):
        return [field.func, *_codes(field)]
    if isinstance(node, ast.Call) and _name(node.func).lower().endswith("error") and name in ("args", "keywords"):
        return _codes(node) if name == "args" else None
    if isinstance(node, ast.Call) and _name(node.func) == "Field" and name == "keywords":
        return [keyword for keyword in field if keyword.arg not in _LABELS]
    return field


def _codes(call: ast.Call) -> list[ast.expr]:
    """Return those arguments of an error that are codes, such as the reason "not_an_image", and no sentences."""
    return [
        value
        for value in call.args
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value.isidentifier()
    ]


def _name(function: ast.expr) -> str:
    """Return the last name of what is called; empty where it has none."""
    match function:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name
    return ""
