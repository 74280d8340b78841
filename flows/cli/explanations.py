"""The command that explains why a run did what it did, and the lineage of a version."""

from pydantic import BaseModel, Field

from cl_core.errors import InputError, StoreUnreachableError
from cl_core.report.costs import StepCost, cost_line, step_costs
from tasks.lineage.explain import previous_run, step_reasons
from tasks.lineage.graph import LineageReport, explain_version, parse_version
from tasks.runtime.run_log import FlowRun, logged_runs
from tasks.runtime.settings import Settings


class StepReason(BaseModel):
    """Why a step ran, or was skipped."""

    step: StepCost
    reason: str


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
    if version := parse_version(what):
        return Explanation(versions=[explain_version(*version)])
    settings = Settings.from_environment()
    runs = logged_runs(settings)
    run = next((run for run in runs if what in (run.id, run.name)), None) or _run_of_server(what, settings, runs)
    explanation = Explanation(
        run=run,
        steps=[StepReason(step=step, reason=reason) for step, reason in step_reasons(run, previous_run(run, runs))],
        cost=cost_line(step_costs(run.attempts)),
    )
    for uri in sorted({str(attempt.result["uri"]) for attempt in run.attempts if "uri" in attempt.result}):
        version = parse_version(uri)
        assert version is not None
        try:
            explanation.versions.append(explain_version(*version))
        except StoreUnreachableError as error:
            explanation.unknown[uri] = str(error)
    return explanation


def _run_of_server(what: str, settings: Settings, here: list[FlowRun]) -> FlowRun:
    """Return a run that this machine has no log of, as the Prefect server has it."""
    run = None
    if settings.has_prefect:
        from flows.cli.environment import start_prefect

        start_prefect()
        from tasks.lineage.prefect_history import run_from_server

        run = run_from_server(what)
    if run is None:
        names = ", ".join(other.name for other in here[:5]) or "none"
        raise InputError(
            f"there is no flow run with the id or name {what!r}, here or on the Prefect server; the latest here: "
            f"{names}. For a version, write NAME/N or NAME@champion"
        )
    return run
