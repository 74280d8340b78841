"""The components that a spec can name, with their options."""

import importlib
import re
from typing import Any

from cl_core.registry import ENCODERS, EVALUATIONS, LOSSES, METHODS, MODALITIES, SOURCES, VIEWS, Registry
from reference.markdown import code, document, table
from reference.specs import field_table

REGISTRIES: dict[str, Registry[Any]] = {
    "Methods": METHODS,
    "Losses": LOSSES,
    "View policies": VIEWS,
    "Encoders": ENCODERS,
    "Evaluation protocols": EVALUATIONS,
    "Sources": SOURCES,
    "Modalities": MODALITIES,
}
_FIELDS = {"Methods": "training.method", "Losses": "training.loss", "View policies": "training.views",
           "Encoders": "training.encoder", "Evaluation protocols": "evaluation.protocols",
           "Sources": "data.source", "Modalities": "data.modality"}  # fmt: skip


def page() -> str:
    """Return the page of the components."""
    parts = [
        (
            "A component is one file; its name is the file's name. "
            "[Add a component](../how-to/add-a-component.md) says how to bring your own. "
            "[Parity](parity.md) compares losses and methods with other libraries."
        )
    ]
    for title, registry in REGISTRIES.items():
        parts += [
            f"## {title}",
            f"Chosen with `{_FIELDS[title]}`; entry points in the group `{registry.group}` add to them.",
            table(("name", "summary", "source"), (_row(registry, name) for name in registry.names())),
        ]
        if registry is MODALITIES:
            parts.append(
                "`data.image_size` and `data.value_range` are the options of images. Those of other modalities are in "
                "`data.modality_options`."
            )
        for name in registry.names() if registry is not MODALITIES else ():
            if options := field_table(registry.get(name, field="")):
                parts += [f"### Options of {registry.kind} `{name}`", options]
    return document("Components", *parts)


def summary(registry: Registry[Any], name: str) -> str:
    """Return the first line of a component's module."""
    module = importlib.import_module(registry.get(name, field="").__module__)
    return str(module.__doc__).strip().splitlines()[0]


def _row(registry: Registry[Any], name: str) -> tuple[str, str, str]:
    papers = dict.fromkeys(re.findall(r"arXiv:(\d{4}\.\d{4,5})", registry.get(name, field="").__doc__ or ""))
    links = ", ".join(f"[{paper}](https://arxiv.org/abs/{paper})" for paper in papers)
    return code(name), summary(registry, name), links
