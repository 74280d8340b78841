"""Which protocols run on a snapshot: what its labels allow, known before anything is trained."""

from collections.abc import Mapping
from typing import NamedTuple

from cl_core.errors import SpecError
from cl_core.evaluation.protocols import Evaluation
from cl_core.registry import EVALUATIONS
from cl_core.specs import EvaluationSpec

_SPLITS = {"train": "training", "test": "test"}


class ProtocolChoice(NamedTuple):
    """The protocols of a spec that the labels of a snapshot allow."""

    running: dict[str, Evaluation]  # By name, in the order of the spec.
    left_out: list[str]  # Names of the others.
    reason: str  # Why these are left out; empty if none is.


def protocols(spec: EvaluationSpec) -> dict[str, Evaluation]:
    """Build the protocols of a spec with their options, in its order.

    Raises:
        SpecError: When a name or an option is unknown or out of range, or options are given for a protocol that is
            not asked for.
    """
    for name in spec.options.keys() - set(spec.protocols):
        raise SpecError(f"evaluation.options.{name}: {name!r} is not among evaluation.protocols; add it or drop these")
    return {
        name: EVALUATIONS.build(
            name, spec.options.get(name, {}), field="evaluation.protocols", options_field=f"evaluation.options.{name}"
        )
        for name in spec.protocols
    }


def choose_protocols(spec: EvaluationSpec, *, labeled: Mapping[str, int]) -> ProtocolChoice:
    """Return the protocols that run: those that need labels only if both splits have some.

    `labeled` are the labeled samples of each split.

    Raises:
        SpecError: As `protocols`.
    """
    chosen = protocols(spec)
    missing = [name for split, name in _SPLITS.items() if not labeled[split]]
    if not missing:
        return ProtocolChoice(chosen, [], "")
    reason = f"the {missing[0]} split has no labels" if len(missing) < len(_SPLITS) else "the data have no labels"
    running = {name: protocol for name, protocol in chosen.items() if not protocol.needs_labels}
    left_out = [name for name in chosen if name not in running]
    return ProtocolChoice(running, left_out, reason if left_out else "")
