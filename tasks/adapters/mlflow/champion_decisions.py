"""Decisions that change the champion: the gate's, a promotion by hand, a rollback.

What the gate compares is measured before: `tasks/registration.py` has the paired gains.
"""

import shlex
from typing import TYPE_CHECKING

from cl_core.errors import InputError
from cl_core.evaluation.promotion_gate import Gains, GateVerdict, judge
from cl_core.failpoints import failpoint
from cl_core.refs import Decision, EvaluationReport
from cl_core.specs import PromotionSpec
from tasks.adapters.mlflow import champion_history as champions
from tasks.adapters.mlflow import lookup
from tasks.adapters.mlflow.model_version import DECISION

if TYPE_CHECKING:
    from mlflow import MlflowClient


def decide(
    client: "MlflowClient",
    name: str,
    version: int,
    promotion: PromotionSpec,
    evaluation: EvaluationReport,
    gains: Gains,
) -> Decision:
    """Let the gate decide about a challenger, and apply the verdict; `ModelStore.decide` says what counts."""
    lookup.require_version(client, name, version)
    history, _ = champions.reconciled_history(client, name)
    champion = history.champion
    if version == champion:
        return _already_champion(client, name, version)
    verdict = _not_comparable(version, history, gains) or judge(version, promotion, evaluation, gains)
    decision = Decision(
        name=name,
        version=version,
        champion=version if verdict.promote else champion,
        promoted=verdict.promote,
        reason=verdict.reason,
        gain=gains.over_champion,
    )
    failpoint("promote.judged")
    if verdict.promote:
        champions.apply_change(client, name, history.with_promotion(decision))
    else:
        champions.record_decision(client, decision, version)
    return decision


def apply_promotion(client: "MlflowClient", name: str, version: int, reason: str) -> Decision:
    """Make a version the champion, whatever the gate decided."""
    lookup.require_version(client, name, version)
    history, _ = champions.reconciled_history(client, name)
    if version == history.champion:
        return _already_champion(client, name, version)
    decision = Decision(
        name=name,
        version=version,
        champion=version,
        promoted=True,
        reason=f"version {version} is promoted by hand: {reason}",
    )
    champions.apply_change(client, name, history.with_promotion(decision))
    return decision


def apply_rollback(client: "MlflowClient", name: str, reason: str) -> Decision:
    """Make the champion before the last one the champion again, or finish a rollback that was killed."""
    lookup.require_model(client, name)
    history, unfinished = champions.reconciled_history(client, name)
    if unfinished is not None and unfinished.kind == "rollback":
        return unfinished.decision
    existing = lookup.version_numbers(client, name)
    restored = history.previous_champion(existing)
    if not restored:
        raise InputError(
            f"{name} has no earlier champion to roll back to (now: {champions.champion_label(history.champion)}); "
            f"`cl promote {shlex.quote(name)} VERSION` promotes one of its versions: {lookup.comma_separated(existing)}"
        )
    rolled_back = history.champion
    decision = Decision(
        name=name,
        version=rolled_back,
        champion=restored,
        promoted=False,
        reason=f"version {rolled_back} is rolled back, version {restored} is the champion again: {reason}",
    )
    champions.apply_change(client, name, history.with_rollback(decision))
    return decision


def _already_champion(client: "MlflowClient", name: str, version: int) -> Decision:
    """Return the decision about a version that is the champion already."""
    reason = client.get_model_version(name, str(version)).tags.get(DECISION, "")
    return Decision(
        name=name,
        version=version,
        champion=version,
        promoted=True,
        reason=f"version {version} is the champion already{f' ({reason})' if reason else ''}",
    )


def _not_comparable(version: int, history: champions.ChampionHistory, gains: Gains) -> GateVerdict | None:
    """Return the refusal when the numbers cannot decide about this version, whatever they are."""
    if version in history.rolled_back:
        reason = "a person rolled it back, so only a person promotes it again"
    elif gains.champion != history.champion:
        reason = (
            f"it was compared with {champions.champion_label(gains.champion)}, and by now there is "
            f"{champions.champion_label(history.champion)}; run the same command again"
        )
    else:
        return None
    return GateVerdict(promote=False, reason=f"version {version} is not promoted: {reason}")
