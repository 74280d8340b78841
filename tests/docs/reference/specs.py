"""The specs: every field with its type, default, bounds and description."""

from typing import Any

from pydantic import BaseModel

from cl_core.retention.policy import RetentionSpec
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, PromotionSpec, SourceSpec, TrainingSpec
from reference.markdown import code, document, first_line, table

SPECS: dict[str, tuple[type[BaseModel], str]] = {
    "data": (DataSpec, "`--data.*` of the commands that train or evaluate."),
    "training": (TrainingSpec, "`--training.*`."),
    "evaluation": (EvaluationSpec, "`--evaluation.*`."),
    "promotion": (PromotionSpec, "`--promotion.*` of `cl retrain`."),
    "compute": (ComputeSpec, "`--compute.*`."),
    "source": (SourceSpec, "`--data.*` of `cl embed`."),
    "retention": (RetentionSpec, "The options of `cl prune`, without a prefix."),
}
_BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
           "maxLength": "at most {} characters", "minItems": "at least {}"}  # fmt: skip


def page() -> str:
    """Return the page of the specs."""
    parts = [
        (
            "A spec is what a person asks for: a group in the Prefect form, a prefix on the command line, and a group "
            "in a recipe (`--recipe FILE.json`). It is stored with the model that it makes."
        ),
        "A name of a component is one of those on [Components](components.md); the options beside it are on that page.",
    ]
    for name, (spec, where) in SPECS.items():
        parts += [f"## {name}", f"{first_line(spec)} {where}", field_table(spec)]
    return document("Specs", *parts)


def field_table(model: type[BaseModel]) -> str:
    """Return a table of a model's fields."""
    whole = model.model_json_schema()
    properties = {
        name: schema if "default" in schema or name in whole.get("required", []) else _or_null(schema)
        for name, schema in whole.get("properties", {}).items()
    }
    rows = [
        (code(name), kind(schema), code(default(schema)), bounds(schema), description(schema))
        for name, schema in properties.items()
    ]
    return table(("field", "type", "default", "allowed", "meaning"), rows)


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what the schema of a form leaves out: that a field without a default may be null, and is."""
    return {**schema, "anyOf": [{"type": schema["type"]}, {"type": "null"}], "default": None}


def kind(schema: dict[str, Any]) -> str:
    """Return a field's type in a word."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(each) for each in schema["anyOf"]))
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"list of {kind(items)}" if items else "list"
    return str(schema.get("type", "choice" if "enum" in schema or "const" in schema else "value"))


def default(schema: dict[str, Any]) -> object:
    """Return a field's default."""
    value = schema.get("default", "required")
    return "null" if value is None else value


def bounds(schema: dict[str, Any]) -> str:
    """Return what a field accepts."""
    if "enum" in schema:
        return ", ".join(code(value) for value in schema["enum"])
    if "enum" in schema.get("items", {}):
        return ", ".join(code(value) for value in schema["items"]["enum"])
    stated = {name: value for each in (schema, *schema.get("anyOf", [])) for name, value in each.items()}
    return ", ".join(text.format(stated[name]) for name, text in _BOUNDS.items() if name in stated)


def description(schema: dict[str, Any]) -> str:
    """Return a field's description, or its title."""
    return str(schema.get("description") or schema.get("title", ""))
