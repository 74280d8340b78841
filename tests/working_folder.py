"""The folder that commands start in may have modules with the names of this project's, and of what it imports."""

from pathlib import Path

MODULES = ("tasks.py", "flows/__init__.py", "cl_core/__init__.py", "prefect/__init__.py", "uvicorn.py", "numpy.py")


def own_project(folder: Path) -> Path:
    """A folder whose modules write the command that imports them into the file `imported` beside it."""
    for module in MODULES:
        path = folder / "project" / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "import sys\n"
            f"with open({str(folder / 'imported')!r}, 'a') as file:\n"
            "    print(__name__, sys.orig_argv, file=file)\n"
        )
    return folder / "project"


def imported(folder: Path) -> str:
    """The modules of `own_project` that were imported, and by which commands; empty if none was."""
    file = folder / "imported"
    return file.read_text() if file.exists() else ""
