"""The Python API: what plug-ins build on, and what flows return."""

import importlib
import inspect
from typing import Any

from reference.markdown import code, docstring, document, first_line, sections, table

MODULES = {
    "cl_core.registry": "Register and look up components.",
    "cl_core.losses": "Write a pair loss.",
    "cl_core.methods": "Write a method.",
    "cl_core.encoders": "Write an encoder.",
    "cl_core.views": "Write a view policy.",
    "cl_core.data.sources": "Write a source.",
    "cl_core.evaluation.protocols": "Write an evaluation protocol.",
    "cl_core.refs": "Values that steps and flows return.",
}


def page() -> str:
    """Return the page of the Python API."""
    parts = [
        (
            "Everything here is imported by plug-ins or returned by flows. Names that start with an underscore, and "
            "modules that are not listed, may change without notice. To fetch a model you need none of this: see "
            "[Fetch and serve a model](../how-to/fetch-a-model.md)."
        ),
        (
            "Every flow is a Prefect flow and can be called as a function, for example "
            '`flows.retrain.retrain(model_name="parts")`; its parameters are those of [its command](cli.md).'
        ),
        table(("module", "use"), ((f"[`{name}`](#{name.replace('.', '')})", text) for name, text in MODULES.items())),
    ]
    for name in MODULES:
        module = importlib.import_module(name)
        parts += [f"## {name}", first_line(module)]
        for each in _public(module):
            parts += _described(each)
    return document("Python API", *parts)


def _public(module: Any) -> list[Any]:
    members = [value for name, value in vars(module).items() if not name.startswith("_")]
    return [
        member
        for member in members
        if (inspect.isclass(member) or inspect.isfunction(member)) and member.__module__ == module.__name__
    ]


def _described(thing: Any) -> list[str]:
    kind = "class" if inspect.isclass(thing) else "function"
    text, parts = sections(docstring(thing))
    described = [
        f"### {thing.__name__} {{ #{thing.__module__}.{thing.__name__} }}",
        f"*{kind}* {code(_signature(thing))}",
        text,
    ]
    described += [f"**{name}**\n\n```text\n{inspect.cleandoc(chr(10) + body)}\n```" for name, body in parts.items()]
    if inspect.isclass(thing):
        methods = [
            (code(name), first_line(member.fget if isinstance(member, property) else member))
            for name, member in vars(thing).items()
            if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
        ]
        described.append(table(("member", "does"), methods))
        fields = getattr(thing, "model_fields", {})
        described.append(
            table(("field", "meaning"), ((code(name), field.description or "") for name, field in fields.items()))
        )
    return described


def _signature(thing: Any) -> str:
    if inspect.isclass(thing):
        bases = [base.__name__ for base in thing.__bases__ if base is not object]
        return f"{thing.__name__}({', '.join(bases)})" if bases else thing.__name__
    return f"{thing.__name__}{inspect.signature(thing, eval_str=False)}"
