"""The README says what there is: its table of components is made from the components themselves."""

import importlib
import os
import re
from pathlib import Path

from cl_core.registry import ENCODERS, EVALUATIONS, LOSSES, METHODS, SOURCES, VIEWS

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- components: written by tests/test_readme.py -->\n", "<!-- end of components -->"
REGISTRIES = (METHODS, LOSSES, VIEWS, ENCODERS, EVALUATIONS, SOURCES)


def row(registry, name):
    """A line of the table: what the module's first line says, and the paper that the class names."""
    component = registry.get(name, field="")
    said = importlib.import_module(component.__module__).__doc__.strip().splitlines()[0]
    papers = dict.fromkeys(re.findall(r"arXiv:(\d{4}\.\d{4,5})", component.__doc__))
    links = ", ".join(f"[{paper}](https://arxiv.org/abs/{paper})" for paper in papers)
    return f"| {registry.kind} | `{name}` | {said} | {links} |\n"


def table():
    head = "| kind | name | what | source |\n|---|---|---|---|\n"
    return head + "".join(row(registry, name) for registry in REGISTRIES for name in registry.names())


def test_the_table_of_components_is_that_of_the_components():
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    shown, _, after = rest.partition(END)
    if os.environ.get("CL_UPDATE_GOLDEN") == "1":
        README.write_text(before + BEGIN + table() + END + after)
        shown = table()
    assert shown == table(), "run CL_UPDATE_GOLDEN=1 pytest tests/test_readme.py to write the table anew"


def test_every_method_and_loss_says_what_it_is_in_one_line():
    offenders = {}
    for registry in (METHODS, LOSSES):
        for name in registry.names():
            said = importlib.import_module(registry.get(name, field="").__module__).__doc__.strip().splitlines()[0]
            if not re.fullmatch(r".{10,118}\.", said):
                offenders[name] = said
    assert offenders == {}
