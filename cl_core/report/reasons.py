"""The sentence of each reason, made from its code and values wherever a person reads it."""

from cl_core.refs import ComparisonReason, Decision, DecisionReason, LeftOut, NotComparable, Score
from cl_core.report.wording import humanized
from cl_core.retention.policy import BrokenLineage, RetentionVerdict

_SHOWN = 12  # Digits of a digest in a sentence.


def decision_sentence(decision: Decision) -> str:
    """Return what was decided about a version, and why."""
    reason, version = decision.reason, f"version {decision.version}"
    match reason.code:
        case "stored":
            return reason.stored
        case "better" if decision.promoted:
            return f"{version} is promoted: {_merit(reason)}"
        case "better":
            return f"{version} would be promoted: {_merit(reason)}; automatic promotion is off"
        case "promoted_by_hand":
            return f"{version} is promoted by hand: {reason.words}"
        case "rolled_back":
            return f"{version} is rolled back, version {reason.champion} is the champion again: {reason.words}"
        case "already_champion":
            earlier = f" ({decision_sentence(reason.earlier)})" if reason.earlier else ""
            return f"{version} is the champion already{earlier}"
        case _:
            return f"{version} is not promoted: {_objection(reason)}"


def champion_label(champion: int) -> str:
    """Return a champion in words."""
    return f"version {champion}" if champion else "no champion"


def _merit(reason: DecisionReason) -> str:
    value = reason.reached
    reached = f"{reason.score} is {value.value:.4f} [{value.low:.4f}, {value.high:.4f}]" if value else reason.score
    if reason.baseline:
        return f"{reached}, {_signed(reason.gain)} over {_named(reason.baseline)}, and there was no champion"
    return f"{reached}, {_signed(reason.gain)} over the champion, version {reason.champion}"


def _objection(reason: DecisionReason) -> str:
    other = _named(reason.baseline) if reason.baseline else f"the champion, version {reason.champion}"
    match reason.code:
        case "collapsed":
            value = reason.reached.value if reason.reached else float("nan")
            return f"its embeddings have collapsed ({reason.score} {value:.3g}, at least {reason.least:g} wanted)"
        case "not_measured":
            return (
                f"the deciding score {reason.score} was not measured (there are: "
                f"{', '.join(reason.measured) or 'none'}); without it, as with data that have no labels, only a person "
                "promotes"
            )
        case "not_finite":
            return f"its {reason.score} is not a finite number"
        case "not_compared":
            why = f": {comparison_sentence(reason.not_comparable)}" if reason.not_comparable else ""
            comma = "" if reason.baseline else ","
            return f"it was not compared with {other}{comma} on {reason.score}{why}"
        case "not_better" if reason.baseline:
            return f"{reason.score} is not proven better than that of {other}: difference {_signed(reason.gain)}"
        case "not_better":
            return (
                f"its gain in {reason.score} over {other}, is {_signed(reason.gain)}, but the interval must lie above "
                f"{reason.least:g}"
            )
        case "champion_changed":
            return (
                f"it was compared with {champion_label(reason.compared)}, and by now there is "
                f"{champion_label(reason.champion)}; run the same command again"
            )
        case _:
            return "a person rolled it back, so only a person promotes it again"


def comparison_sentence(champion: NotComparable) -> str:
    """Return why a champion cannot be evaluated on the challenger's samples, and what to do."""
    reason = champion.reason
    match reason.code:
        case "stored":
            return reason.stored
        case "other_modality":
            why = f"it takes {reason.takes}, and the data are of modality {reason.modality!r}"
        case "rejected_sample":
            why = f"a sample cannot be made into one of {reason.takes} ({reason.detail})"
        case _:
            why = foreign_sentence(champion.uri, reason)
    return (
        f"{champion.uri}, the champion, cannot be evaluated on these samples: {why}; promote by hand with "
        "`cl promote`, or choose another model_name"
    )


def foreign_sentence(uri: str, reason: ComparisonReason) -> str:
    """Return why a version takes nothing that a modality gives, and what to do."""
    match reason.code:
        case "unknown_modality":
            return f"{uri} takes modality {reason.modality!r}, which is not installed; install the package that has it"
        case "not_one_array":
            takes = f"{reason.takes or 'inputs without a signature'}, not {reason.detail or 'one array'}"
        case _:
            takes = f"nothing that {reason.modality!r} gives: {reason.detail}"
    return f"{uri} takes {takes}; choose a model that `cl retrain` registered"


def left_out_sentence(protocol: LeftOut) -> str:
    """Return which protocol could not run, and why."""
    return protocol.stored or f"{protocol.protocol}: {missing_labels(protocol)}"


def missing_labels(protocol: LeftOut) -> str:
    """Return which labels a protocol would have needed."""
    match protocol.code:
        case "no_training_labels":
            return "the training split has no labels"
        case "no_test_labels":
            return "the test split has no labels"
        case _:
            return "the data have no labels"


def retention_sentence(verdict: RetentionVerdict) -> str:
    """Return why an artifact is deleted or kept."""
    reason, item = verdict.reason, verdict.item
    users = {"training": "made", "snapshot": "data of", "report": "about"}.get(item.kind, "of")
    match reason.code:
        case "stored":
            return reason.stored
        case "incomplete":
            return "left incomplete by a process that has ended"
        case "in_use":
            return "in use by a process"
        case "used_by_run":
            return f"used since flow run {reason.run!r} began, which may still be running"
        case "version_kept":
            among = [f"among the newest {reason.newest}" if reason.newest > 1 else "the newest"] * bool(reason.newest)
            [version] = reason.versions
            return f"{users} {version} ({', '.join([*version.held_by, *among])})"
        case "versions_superseded":
            copy = "; MLflow keeps a copy" if item.kind == "report" else ""
            names = ", ".join(map(str, reason.versions))
            return f"{users} {names}: no alias, and {reason.newest} newer versions{copy}"
        case "training_kept":
            return f"training {reason.training[:_SHOWN]}, which is kept, was made from it"
        case "training_deleted":
            return f"made by training {item.training[:_SHOWN]}, which is deleted"
        case "snapshot_kept":
            return f"made from snapshot {item.snapshot[:_SHOWN]}, which is kept"
        case "snapshot_deleted":
            return f"made from snapshot {item.snapshot[:_SHOWN]}, which is deleted"
        case "unused":
            return f"{_unreferred(verdict)}; last used {reason.days:.1f} days ago"
        case "used_recently":
            return f"{_unreferred(verdict)}; last used {reason.days:.1f} days ago, kept for {reason.keep_days:g}"


def broken_lineage_sentence(loss: BrokenLineage) -> str:
    """Return what a version loses of its inputs, and what it cannot be used for any more."""
    lost, cannot = [], ["be resumed"]
    if loss.training:
        lost.append(f"checkpoint (training {loss.training[:_SHOWN]})")
    if loss.snapshot:
        lost.append(f"training data snapshot {loss.snapshot[:_SHOWN]}")
        cannot.append("re-evaluated on its own data")
    return loss.stored or (
        f"lineage of {loss.name} version {loss.version}: its {' and its '.join(lost)} "
        f"{'is' if len(lost) == 1 else 'are'} removed; the version still loads, but it cannot {' or '.join(cannot)}"
    )


def _unreferred(verdict: RetentionVerdict) -> str:
    """Return why nothing refers to an artifact."""
    item = verdict.item
    match item.kind:
        case "orphan":
            return "left incomplete by a process of another machine"
        case "initial weights":
            return "initial weights of trainings; MLflow keeps them with their version"
        case "training" if not item.finished:
            return "of a failed run, without a result"
        case "training" | "snapshot":
            return "no version was made from it"
        case "report":
            return f"{item.model} has no version {item.version}"
        case _:
            return "of unknown inputs, and can be made again"


def _named(baseline: str) -> str:
    return "the untrained encoder" if baseline == "untrained" else humanized(baseline)


def _signed(gain: Score | None) -> str:
    return f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]" if gain else "not a number"


REASON_FILTERS = {"decision_sentence": decision_sentence, "left_out_sentence": left_out_sentence}
"""By the names that templates use."""
