"""Decisions that change the champion: the gate's, a promotion by hand, a rollback.

What the gate compares is measured before: `tasks/registration.py` has the paired gains.
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from cl_core.errors import InputError
from cl_core.evaluation.promotion_gate import Gains, GateVerdict, finite, judge
from cl_core.failpoints import failpoint
from cl_core.refs import Decision, DecisionReason, EvaluationReport
from cl_core.report.reasons import champion_label
from cl_core.specs import PromotionSpec
from tasks.adapters.mlflow import champion_history as champions
from tasks.adapters.mlflow import lookup

if TYPE_CHECKING:
    from mlflow import MlflowClient


def decide(
    client: "MlflowClient",
    name: str,
    version: int,
    promotion: PromotionSpec,
    evaluation: EvaluationReport,
    gains: Gains,
    staged: Path,
) -> Decision:
    """Let the gate decide about a challenger, and apply the verdict; `ModelStore.decide` says what counts."""
    lookup.require_version(client, name, version)
    history, _ = champions.reconciled_history(client, name)
    champion = history.champion
    if version == champion:
        return _already_champion(client, name, version, staged)
    verdict = _undecidable(version, history, gains) or judge(promotion, evaluation, gains)
    decision = Decision(
        name=name,
        version=version,
        champion=version if verdict.promote else champion,
        promoted=verdict.promote,
        reason=verdict.reason,
        gain=finite(gains.over_champion),
    )
    failpoint("promote.judged")
    if verdict.promote:
        champions.apply_change(client, name, history.with_promotion(decision))
    else:
        champions.record_decision(client, decision, version)
    return decision


def apply_promotion(client: "MlflowClient", name: str, version: int, words: str, staged: Path) -> Decision:
    """Make a version the champion, whatever the gate decided."""
    lookup.require_version(client, name, version)
    history, _ = champions.reconciled_history(client, name)
    if version == history.champion:
        return _already_champion(client, name, version, staged)
    decision = Decision(
        name=name,
        version=version,
        champion=version,
        promoted=True,
        reason=DecisionReason(code="promoted_by_hand", words=words),
    )
    champions.apply_change(client, name, history.with_promotion(decision))
    return decision


def apply_rollback(client: "MlflowClient", name: str, words: str) -> Decision:
    """Make the champion before the last one the champion again, or finish a rollback that was killed."""
    lookup.require_model(client, name)
    history, unfinished = champions.reconciled_history(client, name)
    if unfinished is not None and unfinished.kind == "rollback":
        return unfinished.decision
    existing = lookup.version_numbers(client, name)
    restored = history.previous_champion(existing)
    if not restored:
        raise InputError(
            f"{name} has no earlier champion to roll back to (now: {champion_label(history.champion)}); "
            f"`cl promote {shlex.quote(name)} VERSION` promotes one of its versions: {lookup.comma_separated(existing)}"
        )
    rolled_back = history.champion
    decision = Decision(
        name=name,
        version=rolled_back,
        champion=restored,
        promoted=False,
        reason=DecisionReason(code="rolled_back", champion=restored, words=words),
    )
    champions.apply_change(client, name, history.with_rollback(decision))
    return decision


def _already_champion(client: "MlflowClient", name: str, version: int, staged: Path) -> Decision:
    """Return the decision about a version that is the champion already."""
    earlier = champions.last_decision(client, name, version, staged)
    reason = DecisionReason(code="already_champion", earlier=earlier)
    return Decision(name=name, version=version, champion=version, promoted=True, reason=reason)


def _undecidable(version: int, history: champions.ChampionHistory, gains: Gains) -> GateVerdict | None:
    """Return the refusal when the numbers cannot decide about this version, whatever they are."""
    if version in history.rolled_back:
        reason = DecisionReason(code="rolled_back_before")
    elif gains.champion != history.champion:
        reason = DecisionReason(code="champion_changed", compared=gains.champion, champion=history.champion)
    else:
        return None
    return GateVerdict(promote=False, reason=reason)
