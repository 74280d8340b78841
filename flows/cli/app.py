"""What all commands share: the application with its help and recipes, and a process that is ready for flows."""

import os
import signal
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cl_core import registry
from cl_core.errors import InputError
from flows.cli.recipes import Recipe, read
from tasks.runtime.settings import Settings, embed_prefect

app = App(
    name="cl",
    help="Counterpoint: from a team's own images to a registered embedding model.",
    help_epilogue="Settings come from the environment: CL_HOME (default ./.counterpoint), MLFLOW_TRACKING_URI, "
    "PREFECT_API_URL, RAY_ADDRESS, CL_NOTIFY (a Prefect notification block, such as slack-webhook/team).",
    version=lambda: _version(),
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    recipe: Annotated[
        Path | None, Parameter(help="JSON file with values of any of the options below; the command line wins.")
    ] = None,
) -> None:
    if recipe is not None:
        app.config = (read(recipe),)
    app(tokens, exit_on_error=False, print_error=False)


def recipe_name() -> str:
    """File name of the recipe that this process was given; empty without one."""
    return Path(app.config[0].source).name if app.config and isinstance(app.config[0], Recipe) else ""


def names() -> str:
    """What can be chosen by name, for the end of a help page."""
    chosen = {
        "--data.source": registry.SOURCES,
        "--training.method": registry.METHODS,
        "--training.loss": registry.LOSSES,
        "--training.views": registry.VIEWS,
        "--training.encoder": registry.ENCODERS,
        "--evaluation.protocols": registry.EVALUATIONS,
    }
    return "Names to choose from:\n\n" + "\n\n".join(f"{o}: {', '.join(r.names())}" for o, r in chosen.items())


def prepare(*, server: bool = True) -> float:
    """Get the process ready, before torch is imported; returns when it began, in seconds since 1970.

    Args:
        server: Whether Prefect's is needed: where there is none, a temporary one is started.
    """
    import psutil

    embed_prefect(Settings.from_environment())
    # A scheduler's or a shell's SIGTERM ends a command as cleanly as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Idle threads that spin take a small machine's cores from the work; it must be set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if server:
        _start_prefect()
    return psutil.Process().create_time()


def check_addressed() -> None:
    """Refuse to look past the servers that run for this home, for commands that go by what Prefect says."""
    from tasks.runtime.locks import is_locked

    if "PREFECT_API_URL" not in os.environ and is_locked(Settings.from_environment().up_lock):
        raise InputError(
            "`cl up` runs for this CL_HOME, but PREFECT_API_URL is not set, so its runs cannot be asked for; "
            "its screen shows the line that sets it"
        )


def _start_prefect() -> None:
    """Start the temporary server such that a terminal's Ctrl-C, sent to it too, leaves it to hear how runs ended."""
    from prefect import get_client

    # A process inherits what is blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with get_client(sync_client=True):
            pass
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _version() -> str:
    from importlib.metadata import version

    return version("counterpoint")
