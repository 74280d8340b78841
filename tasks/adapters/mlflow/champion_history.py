"""The champions of a model, past and present, and how the champion changes.

MLflow has aliases without history, and no transaction over several calls. So a change is written first as pending, in
one tag of the registered model, and then applied; the next process finishes what a killed one began. The alias points
at a complete version at all times.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cl_core.failpoints import failpoint
from cl_core.refs import Decision
from cl_core.report.reasons import decision_sentence
from tasks.adapters.mlflow.model_version import CHAMPION, DECISION

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

_HISTORY = "counterpoint.champions"
# A tag holds 5,000 characters on older servers; this many versions fit.
_KEPT_VERSIONS = 200
_DECISION_FILE = "decision.json"
# Tags written by 0.1.0 have the old names.
_OLD_NAMES = {"withdrawn": "rolled_back", "concerned": "affected_versions"}


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, stored: Any) -> Any:
        is_json = isinstance(stored, dict)
        return {_OLD_NAMES.get(name, name): value for name, value in stored.items()} if is_json else stored


class ChampionChange(_Stored):
    """A change of champion that has been decided."""

    kind: Literal["promotion", "rollback"]
    decision: Decision
    affected_versions: list[int] = Field(description="Versions whose tags get the reason.")


class ChampionHistory(_Stored):
    """The champions of one model, oldest first; the last is the one that users fetch once `pending` is applied."""

    champions: list[int] = []
    rolled_back: list[int] = Field([], description="By a person; the gate never promotes these again.")
    pending: ChampionChange | None = Field(None, description="Decided, and not applied to its end.")

    @property
    def champion(self) -> int:
        """Return the version that users fetch; 0 when there is none."""
        return self.champions[-1] if self.champions else 0

    def with_promotion(self, decision: Decision) -> "ChampionHistory":
        """Return the history in which the decision's version is the next champion."""
        version = decision.version
        return ChampionHistory(
            champions=[*self.champions, version][-_KEPT_VERSIONS:],
            rolled_back=[other for other in self.rolled_back if other != version],
            pending=ChampionChange(kind="promotion", decision=decision, affected_versions=[version]),
        )

    def with_rollback(self, decision: Decision) -> "ChampionHistory":
        """Return the history without the decision's version, which ends with the decision's champion."""
        rolled_back, restored, earlier = decision.version, decision.champion, self.champions[:-1]
        return ChampionHistory(
            champions=earlier[: len(earlier) - earlier[::-1].index(restored)],
            rolled_back=[*self.rolled_back, rolled_back][-_KEPT_VERSIONS:],
            pending=ChampionChange(kind="rollback", decision=decision, affected_versions=[rolled_back, restored]),
        )

    def previous_champion(self, existing: Collection[int]) -> int:
        """Return the champion before the last one, among the versions that still exist; 0 when there is none."""
        earlier = [version for version in self.champions[:-1] if version in existing and version != self.champion]
        return earlier[-1] if earlier else 0


def read_history(model: "RegisteredModel") -> ChampionHistory:
    """Return the history as it is stored; its last change may be pending."""
    return ChampionHistory.model_validate_json(model.tags.get(_HISTORY, "{}"))


def reconciled_history(client: "MlflowClient", name: str) -> tuple[ChampionHistory, ChampionChange | None]:
    """Finish what a killed process began; return the history, and that unfinished change if there was one."""
    model = client.get_registered_model(name)
    history = read_history(model)
    unfinished = history.pending
    if unfinished is not None:
        return apply_change(client, name, history), unfinished
    alias = int(model.aliases.get(CHAMPION, 0))
    if alias and alias != history.champion:
        # Someone has set the alias in MLflow itself. It is followed; rolling back returns to the champion before it.
        history = ChampionHistory(champions=[*history.champions, alias], rolled_back=history.rolled_back)
    return history, None


def reconcile(client: "MlflowClient", name: str) -> None:
    """Finish what a killed process began, and record a champion that was set in MLflow itself."""
    history, _ = reconciled_history(client, name)
    client.set_registered_model_tag(name, _HISTORY, history.model_dump_json())


def reserved_versions(model: "RegisteredModel", existing: Collection[int]) -> dict[int, str]:
    """Return the versions that may be fetched next, and why: a pending change, or a possible rollback."""
    history = read_history(model)
    pending = {history.champion: "champion to be"} if history.pending else {}
    reasons = {history.previous_champion(existing): "for a rollback", **pending}
    return {version: reason for version, reason in reasons.items() if version}


def apply_change(client: "MlflowClient", name: str, history: ChampionHistory) -> ChampionHistory:
    """Write the pending change, the reasons and the alias, then clear the pending change; each call may be repeated."""
    change = history.pending
    assert change is not None
    client.set_registered_model_tag(name, _HISTORY, history.model_dump_json())
    failpoint("promote.intent-written")
    for version in change.affected_versions:
        record_decision(client, change.decision, version)
    client.set_registered_model_alias(name, CHAMPION, str(change.decision.champion))
    failpoint("promote.alias-set")
    applied = history.model_copy(update={"pending": None})
    client.set_registered_model_tag(name, _HISTORY, applied.model_dump_json())
    failpoint("promote.intent-committed")
    return applied


def record_decision(client: "MlflowClient", decision: Decision, version: int) -> None:
    """Record the decision with a version that it affects: a tag for lists, and files in its run."""
    run_id, sentence = client.get_model_version(decision.name, str(version)).run_id, decision_sentence(decision)
    if run_id:
        client.log_text(run_id, decision.model_dump_json(indent=1) + "\n", _DECISION_FILE)
        client.log_text(run_id, f"# {decision.name}, version {version}\n\n{sentence}.\n", "decision.md")
        failpoint("promote.files-logged")
    client.set_model_version_tag(decision.name, str(version), DECISION, sentence)
    failpoint("promote.reason-tagged")


def last_decision(client: "MlflowClient", name: str, version: int, staged: Path) -> Decision | None:
    """Return the decision recorded last with a version, with the champion of this moment; None without one."""
    stored = client.get_model_version(name, str(version))
    if DECISION not in stored.tags:
        return None
    champion = int(client.get_registered_model(name).aliases.get(CHAMPION, 0))
    if not stored.run_id:  # Another program registered it; of the decision there is the sentence alone.
        sentence = stored.tags[DECISION]
        return Decision(name=name, version=version, champion=champion, promoted=version == champion, reason=sentence)
    decision = Path(client.download_artifacts(stored.run_id, _DECISION_FILE, str(staged))).read_text(encoding="utf-8")
    return Decision.model_validate_json(decision).model_copy(update={"champion": champion})
