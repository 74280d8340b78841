"""The command that explains why a run did what it did, and the lineage of a version."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from cl_core.report.costs import StepCost
from tasks.runtime.run_log import FlowRun

if TYPE_CHECKING:
    from tasks.runtime.run_log import RunRecord


class StepReason(BaseModel):
    """Why a step ran, or was skipped."""

    step: StepCost
    reason: str


class LineageEntry(BaseModel):
    """Something that a version was made from, or that was made from it."""

    what: str = Field(description="Its kind, such as snapshot.")
    which: str
    detail: str = Field(description="Where it is, or why; may be empty.")


class LineageReport(BaseModel):
    """The lineage of a version."""

    title: str = Field(description="Address, aliases and time of registration.")
    made_from: list[LineageEntry]
    champion: list[LineageEntry] = Field(description="Its place in the history of champions.")
    derived: list[LineageEntry] = Field(description="What was made from it, or from the same data or training.")


class Explanation(BaseModel):
    """The result of `cl explain`."""

    run: FlowRun | None = Field(None, description="The flow run; none if a version was asked for.")
    steps: list[StepReason] = Field([], description="Steps of the run, in order.")
    cost: str = Field("", description="What the run cost, in one line.")
    versions: list[LineageReport] = Field([], description="The version asked for, or those that the run used or made.")
    unknown: dict[str, str] = Field({}, description="Versions whose lineage cannot be read now, with the reason.")


def explain(what: str) -> Explanation:
    """Explain why each step of a run ran, or the lineage of a version.

    Args:
        what: A flow run, by id or name, or a version: NAME/N, NAME@champion or models:/NAME/N.
    """
    from cl_core.errors import StoreUnreachableError
    from tasks.lineage.graph import parse_version

    if version := parse_version(what):
        return Explanation(versions=[_lineage(*version)])
    record = _run_record(what)
    explanation = _explained_run(record)
    for uri in sorted({str(attempt.result["uri"]) for attempt in record.attempts if "uri" in attempt.result}):
        version = parse_version(uri)
        assert version is not None
        try:
            explanation.versions.append(_lineage(*version))
        except StoreUnreachableError as error:
            explanation.unknown[uri] = str(error)
    return explanation


def _run_record(run: str) -> "RunRecord":
    """Return the record of a run: this machine's, or the Prefect server's."""
    from cl_core.errors import InputError
    from tasks.runtime.run_log import run_records
    from tasks.runtime.settings import Settings

    settings = Settings.from_environment()
    records = run_records(settings)
    for record in records:
        if run in (record.run.id, record.run.name):
            return record
    record_of_server = None
    if settings.has_prefect:
        from flows.cli.environment import start_prefect

        start_prefect()
        from tasks.lineage.prefect_history import run_from_server

        record_of_server = run_from_server(run)
    if record_of_server is None:
        names = ", ".join(record.run.name for record in records[:5]) or "none"
        raise InputError(
            f"there is no flow run with the id or name {run!r}, here or on the Prefect server; the latest here: "
            f"{names}. For a version, write NAME/N or NAME@champion"
        )
    return record_of_server


def _explained_run(record: "RunRecord") -> Explanation:
    from cl_core.report.costs import cost_line
    from tasks.lineage.explain import previous_run, step_reasons
    from tasks.runtime.run_log import run_records, step_costs
    from tasks.runtime.settings import Settings

    earlier = previous_run(record, run_records(Settings.from_environment()))
    steps = [StepReason(step=step, reason=reason) for step, reason in step_reasons(record, earlier)]
    return Explanation(run=record.run, steps=steps, cost=cost_line(step_costs(record.attempts)))


def _lineage(name: str, version: str) -> LineageReport:
    from tasks.lineage.graph import explain_version

    def entries(lines: list[Any]) -> list[LineageEntry]:
        return [LineageEntry(what=line.what, which=line.which, detail=line.detail) for line in lines]

    lineage = explain_version(name, version)
    return LineageReport(
        title=lineage.title,
        made_from=entries(lineage.up),
        champion=entries(lineage.champion),
        derived=entries(lineage.down),
    )
