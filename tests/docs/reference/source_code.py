"""The product's source as syntax trees: what pages say without importing Prefect, Ray or MLflow."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGES = ("cl_core", "tasks", "flows")


@cache
def trees() -> dict[str, ast.Module]:
    """Return the tree of each module, by its path below the repository."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in paths}


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """Yield every node, with the path of its module."""
    for path, tree in trees().items():
        for node in ast.walk(tree):
            yield path, node
