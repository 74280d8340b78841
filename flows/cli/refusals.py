"""The sentences for command lines and recipes that do not fit a command's parameters."""

import json
import re

from cyclopts import CycloptsError, MissingArgumentError
from pydantic import ValidationError

from cl_core import registry
from cl_core.retention.policy import RetentionSpec
from cl_core.specs import ComputeSpec, DataSpec, EvaluationSpec, PromotionSpec, SourceSpec, TrainingSpec

# In a message, a spec's fields are named as on the command line.
_PREFIXES = {spec.__name__: name for spec, name in (
    (DataSpec, "data"), (SourceSpec, "data"), (TrainingSpec, "training"), (EvaluationSpec, "evaluation"),
    (PromotionSpec, "promotion"), (ComputeSpec, "compute"), (RetentionSpec, ""))}  # fmt: skip


def explained(error: CycloptsError) -> str:
    """Return one sentence: the option, what was wanted, and what came."""
    cause = error.__cause__ or error.__context__
    name = error.argument.name.lstrip("-").replace("-", "_") if error.argument else ""
    if (
        isinstance(error, MissingArgumentError)
        and cause is None
        and name.startswith("data.")
        and not error.tokens_so_far
    ):
        # With nothing of the group given, cyclopts names only its first field.
        cause = _problem_of_no_data()
    if isinstance(cause, ValidationError):
        sentence = registry.explain_validation_error(cause, _path_of(cause.title, name), [])
        if all(problem["type"] != "missing" for problem in cause.errors()):
            return sentence
        # Cyclopts looks for what is missing first; a mistyped option is why it is.
        unknown = [token.partition("=")[0] for token in error.unused_tokens or () if token.startswith("-")]
        mistyped = f"there is no option {unknown[0]}; " if unknown else ""
        return f"{mistyped}{sentence}; for example: --data.name parts --data.source image_folder --data.location photos"
    if isinstance(cause, json.JSONDecodeError):
        return f'{name}: wanted JSON, such as {{"a": 1}}; got {cause.doc!r}: {cause}'
    if isinstance(error, MissingArgumentError) and error.keyword is None and not error.tokens_so_far:
        # Cyclopts says that the option needs an argument, whether or not the option was there.
        return f"{name}: required, and not given; `cl {' '.join(error.command_chain or ())} --help` describes it"
    return str(error)


def _path_of(title: str, parameter: str) -> str:
    """Return what the fields of an error's locations belong to: a spec's group, or a plain parameter.

    Args:
        title: Of the validation error: the spec's name, alone or inside `function-after[...]`, as pydantic writes it
            while the spec's own validator is not built yet; of a plain parameter its type.
        parameter: Name of the parameter.
    """
    named = re.findall(r"\w+", title)
    return next((group for spec, group in _PREFIXES.items() if spec in named), parameter)


def _problem_of_no_data() -> ValidationError | None:
    try:
        DataSpec.model_validate({})
    except ValidationError as error:
        return error
    return None
