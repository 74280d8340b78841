"""The succession of champions: which version users fetch, which they fetched before, and why it changed.

MLflow has aliases without history and no transaction over several calls. So the intention is written first, in one
tag of the registered model, and then carried out; whoever comes next finishes what a killed process began. At every
instant the alias stands on a whole version.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from cl_core.evaluation.promotion_gate import Gains, GateVerdict
from cl_core.failpoints import failpoint
from cl_core.refs import Decision
from tasks.adapters.mlflow.model_version import CHAMPION, DECISION

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

_SUCCESSION = "counterpoint.champions"
# A tag holds 5,000 characters on older servers; this many versions fit.
_REMEMBERED = 200
_RECORD = "decision.json"


class Move(BaseModel):
    """A change of champion that has been decided."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["promotion", "rollback"]
    decision: Decision
    concerned: list[int] = Field(description="Versions that bear the reason.")


class Succession(BaseModel):
    """The champions of one model, oldest first; the last is the one that users fetch once `pending` is carried out."""

    model_config = ConfigDict(frozen=True)

    champions: list[int] = []
    withdrawn: list[int] = Field([], description="Rolled back by a person; the gate never promotes these again.")
    pending: Move | None = None

    @property
    def champion(self) -> int:
        """The version that users fetch; 0 when there is none."""
        return self.champions[-1] if self.champions else 0

    def promoted(self, decision: Decision) -> "Succession":
        """The succession once the decision's version follows."""
        version = decision.version
        return Succession(
            champions=[*self.champions, version][-_REMEMBERED:],
            withdrawn=[other for other in self.withdrawn if other != version],
            pending=Move(kind="promotion", decision=decision, concerned=[version]),
        )

    def rolled_back(self, decision: Decision) -> "Succession":
        """The succession once the decision's version has gone and its champion, an earlier one, is back."""
        gone, back = decision.version, decision.champion
        return Succession(
            champions=self.champions[: _last_index(self.champions[:-1], back) + 1],
            withdrawn=[*self.withdrawn, gone][-_REMEMBERED:],
            pending=Move(kind="rollback", decision=decision, concerned=[gone, back]),
        )

    def before(self, existing: set[int]) -> int:
        """The champion before the last one, among the versions that still exist; 0 when there is none."""
        earlier = [version for version in self.champions[:-1] if version in existing and version != self.champion]
        return earlier[-1] if earlier else 0


def recorded(model: "RegisteredModel") -> Succession:
    """The succession as it is written down, finished or not."""
    return Succession.model_validate_json(model.tags.get(_SUCCESSION, "{}"))


def settled(client: "MlflowClient", name: str) -> tuple[Succession, Move | None]:
    """The succession, after finishing what a killed process began, and that unfinished move if there was one."""
    model = client.get_registered_model(name)
    succession = recorded(model)
    unfinished = succession.pending
    if unfinished is not None:
        return carry_out(client, name, succession), unfinished
    alias = int(model.aliases.get(CHAMPION, 0))
    if alias and alias != succession.champion:
        # Someone has set the alias in MLflow itself: theirs is the last word, and rolling back goes to what was before.
        succession = Succession(champions=[*succession.champions, alias], withdrawn=succession.withdrawn)
    return succession, None


def settle(client: "MlflowClient", name: str) -> None:
    """Finish what a killed process began, and put a champion that was set in MLflow itself on record."""
    succession, _ = settled(client, name)
    client.set_registered_model_tag(name, _SUCCESSION, succession.model_dump_json())


def awaited(model: "RegisteredModel", existing: set[int]) -> dict[int, str]:
    """Versions that may be fetched next, and why: by a move that is not carried out yet, or by a rollback."""
    succession = recorded(model)
    coming = {succession.champion: "champion to be"} if succession.pending else {}
    return {
        version: why for version, why in {succession.before(existing): "for a rollback", **coming}.items() if version
    }


def carry_out(client: "MlflowClient", name: str, succession: Succession) -> Succession:
    """Write the intention, the reasons and the alias, then strike the intention off; each call may be repeated."""
    move = succession.pending
    assert move is not None
    client.set_registered_model_tag(name, _SUCCESSION, succession.model_dump_json())
    failpoint("promote.intent-written")
    for version in move.concerned:
        record(client, move.decision, version)
    client.set_registered_model_alias(name, CHAMPION, str(move.decision.champion))
    failpoint("promote.alias-set")
    done = succession.model_copy(update={"pending": None})
    client.set_registered_model_tag(name, _SUCCESSION, done.model_dump_json())
    failpoint("promote.intent-committed")
    return done


def record(client: "MlflowClient", decision: Decision, version: int) -> None:
    """Leave the decision with a version it concerns: a tag that is read in passing, and files in its run."""
    run_id = client.get_model_version(decision.name, str(version)).run_id
    if run_id:
        client.log_text(run_id, decision.model_dump_json(indent=1) + "\n", _RECORD)
        client.log_text(run_id, f"# {decision.name}, version {version}\n\n{decision.reason}.\n", "decision.md")
        failpoint("promote.files-logged")
    client.set_model_version_tag(decision.name, str(version), DECISION, decision.reason)
    failpoint("promote.reason-tagged")


def last_decision(client: "MlflowClient", name: str, version: int, staged: Path) -> Decision | None:
    """The decision that was recorded last with a version, with the champion of this moment; None without one."""
    found = client.get_model_version(name, str(version))
    if DECISION not in found.tags or not found.run_id:
        return None
    decision = Path(client.download_artifacts(found.run_id, _RECORD, str(staged))).read_text()
    champion = int(client.get_registered_model(name).aliases.get(CHAMPION, 0))
    return Decision.model_validate_json(decision).model_copy(update={"champion": champion})


def standing(client: "MlflowClient", name: str, version: int) -> Decision:
    """What to say of a version that is the champion already."""
    reason = client.get_model_version(name, str(version)).tags.get(DECISION, "")
    return Decision(
        name=name,
        version=version,
        champion=version,
        promoted=True,
        reason=f"version {version} is the champion already{f' ({reason})' if reason else ''}",
    )


def not_comparable(version: int, succession: Succession, gains: Gains) -> GateVerdict | None:
    """Why the numbers cannot decide about this version, whatever they are."""
    if version in succession.withdrawn:
        reason = "a person rolled it back, so only a person promotes it again"
    elif gains.champion != succession.champion:
        reason = (
            f"it was compared with {named(gains.champion)}, and by now there is {named(succession.champion)}; "
            "run the same command again"
        )
    else:
        return None
    return GateVerdict(promote=False, reason=f"version {version} is not promoted: {reason}")


def named(champion: int) -> str:
    """A champion, in words."""
    return f"version {champion}" if champion else "no champion"


def _last_index(versions: list[int], version: int) -> int:
    return len(versions) - 1 - versions[::-1].index(version)
