"""Which protocols run on a snapshot, with which options: what its labels allow, known before anything is trained."""

from collections.abc import Iterator
from typing import NamedTuple

from cl_core.data.snapshot import SnapshotProfile
from cl_core.errors import SpecError
from cl_core.evaluation.protocols import EvaluatedData, Evaluation
from cl_core.refs import LeftOut
from cl_core.registry import EVALUATIONS
from cl_core.specs import EvaluationSpec


class ProtocolChoice(NamedTuple):
    """The protocols of a spec that the labels of a snapshot allow."""

    running: dict[str, Evaluation]  # By name, in the order of the spec.
    left_out: list[LeftOut]  # The others.
    adapted: list[str]  # A sentence for each default that was replaced by what fits.

    @property
    def deciding_scores(self) -> list[str] | None:
        """Scores by which the gate can decide; None when a protocol does not say what it will measure."""
        predictors = [protocol.predictors for protocol in self.running.values()]
        if None in predictors:
            return None
        means = [score for protocol in self.running.values() for score in protocol.per_sample_scores]
        return [f"{name}.accuracy" for names in predictors for name in names or ()] + means


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


def counts_of(profile: SnapshotProfile) -> EvaluatedData:
    """Return what a snapshot knows of its labels."""
    modality = profile.kind
    takes = tuple(modality.served(side).registered_name for side in modality.programs)
    return EvaluatedData(
        **profile.per_class, grouped=profile.groups is not None, paired=modality.sides > 1, takes=takes
    )


def choose_protocols(spec: EvaluationSpec, labels: EvaluatedData) -> ProtocolChoice:
    """Return the protocols that run: those that need labels only if both splits have some, with options that fit.

    Raises:
        InputError: As `protocols`, or when a given option does not fit the labeled samples.
    """
    chosen = protocols(spec)
    splits = {"training": labels.train, "test": labels.test}
    missing = [name for name, counts in splits.items() if not sum(counts.values())]
    if not missing:
        fitted = {name: protocol.fitted_to(labels) for name, protocol in chosen.items()}
        adapted = [one for name in chosen for one in _replaced(name, chosen[name], fitted[name], labels)]
        return ProtocolChoice(fitted, [], adapted)
    code = f"no_{missing[0]}_labels" if len(missing) < len(splits) else "no_labels"
    running = {name: protocol.fitted_to(labels) for name, protocol in chosen.items() if not protocol.uses_labels}
    left_out = [LeftOut(code=code, protocol=name) for name in chosen if name not in running]
    return ProtocolChoice(running, left_out, [])


def check_deciding_score(score: str, choice: ProtocolChoice, labels: EvaluatedData) -> None:
    """Refuse a deciding score that is not measured where others are.

    Raises:
        SpecError: With the scores to choose from.
    """
    if choice.deciding_scores and score not in choice.deciding_scores:
        raise SpecError(
            f"promotion.score: {score!r} cannot decide: with {sum(labels.train.values())} labeled training samples it "
            f"is not measured; choose one of: {', '.join(choice.deciding_scores)}"
        )


def _replaced(name: str, given: Evaluation, fitted: Evaluation, labels: EvaluatedData) -> Iterator[str]:
    """Give a sentence for each option that was replaced."""
    for option, value in given:
        if (now := getattr(fitted, option)) != value:
            yield (
                f"evaluation.options.{name}.{option}: {_listed(now)} in place of the default {_listed(value)}: "
                f"there are {sum(labels.train.values())} labeled training samples, {labels.rarest} of the rarest class"
            )


def _listed(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    *others, last = map(str, value)
    return f"{', '.join(others)} and {last}" if others else last
