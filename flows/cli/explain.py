"""`cl explain`: why a run did what it did, and where a version comes from and what became of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from flows.cli.app import app, prepare

if TYPE_CHECKING:
    from tasks.lineage.graph import LineageLine
    from tasks.runtime.run_log import RunRecord


@app.command
def explain(what: str) -> None:
    """Print why each step of a run ran or was skipped, or where a version comes from and what became of it.

    Args:
        what: A flow run, by its id or name, or a version: NAME/N, NAME@champion or models:/NAME/N.
    """
    prepare(server=False)
    from cl_core.errors import StoreUnreachableError
    from tasks.lineage.graph import version_named

    if version := version_named(what):
        _show_version(*version)
        return
    account = _account(what)
    _show_run(account)
    for uri in sorted({str(attempt.result["uri"]) for attempt in account.attempts if "uri" in attempt.result}):
        made = version_named(uri)
        assert made is not None
        try:
            _show_version(*made)
        except StoreUnreachableError as error:
            print(f"\nThe lineage of {uri} is not known now: {error}")


def _account(run: str) -> "RunRecord":
    """The account of a run: this machine's, or what the Prefect server remembers of it."""
    from cl_core.errors import InputError
    from tasks.lineage.graph import run_records
    from tasks.runtime.settings import Settings

    settings = Settings.from_environment()
    known = run_records(settings)
    for account in known:
        if run in (account.run.id, account.run.name):
            return account
    found = None
    if settings.has_prefect:
        prepare()
        from tasks.lineage.prefect_history import run_from_server

        found = run_from_server(run)
    if found is None:
        names = ", ".join(account.run.name for account in known[:5]) or "none"
        raise InputError(
            f"there is no flow run with the id or name {run!r}, here or on the Prefect server; the last ones here: "
            f"{names}. For a version, write NAME/N or NAME@champion"
        )
    return found


def _show_run(account: "RunRecord") -> None:
    from cl_core.report.costs import cost_line
    from cl_core.report.wording import duration
    from tasks.lineage.explain import reasons, run_before
    from tasks.lineage.graph import run_records
    from tasks.runtime.run_log import step_costs
    from tasks.runtime.settings import Settings

    run = account.run
    state = run.state or "not ended: it still runs, or its process was killed"
    began = datetime.fromtimestamp(run.began, UTC)
    console = _console()
    console.print(f"Run {run.name} ({run.id}) of {run.flow}, begun {began:%Y-%m-%d %H:%M:%S} UTC: {state}")
    if run.message:
        console.print(run.message)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("step", "outcome", "took", "why"):
        table.add_column(column, overflow="fold", no_wrap=column != "why")
    for cost, why in reasons(account, run_before(account, run_records(Settings.from_environment()))):
        outcome = "skipped" if cost.outcome == "cached" else cost.outcome
        table.add_row(cost.step, outcome, duration(cost.seconds), why)
    console.print(table)
    console.print(f"Cost: {cost_line(step_costs(account.attempts))}")


def _show_version(name: str, version: str) -> None:
    from tasks.lineage.graph import explain_version

    explanation = explain_version(name, version)
    console = _console()
    console.print(f"\n{explanation.title}")
    for title, lines in {
        "Made from": explanation.up,
        "Among champions": explanation.champion,
        "Made of it, or beside it": explanation.down,
    }.items():
        console.print(f"\n{title}")
        _show_lines(console, lines)


def _show_lines(console: Console, lines: "Sequence[LineageLine]") -> None:
    width = max(len(line.what) for line in lines)
    for line in lines:
        detail = f"  {line.detail}" if line.detail else ""
        console.print(f"  {line.what:<{width}}  {line.which}{detail}")


def _console() -> Console:
    """Standard output; nothing in it is markup, and no address is broken into lines where it goes to a file."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    return console if console.is_terminal else Console(width=160, highlight=False, markup=False, soft_wrap=True)
