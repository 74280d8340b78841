"""What a process needs before and while it runs a command: settings, signals, a Prefect server."""

import importlib
import json
import signal
import warnings
from contextlib import suppress

from cl_core import processes
from cl_core.errors import InfrastructureError, InputError
from cl_core.specs import ComputeSpec
from tasks.runtime.process_environment import (
    SAFE_PATH,
    embed_prefect,
    keep_loopback_direct,
    keep_prefect_from_files,
    set_defaults,
    set_variables,
    unset_empty,
    use_prefect_of,
)
from tasks.runtime.settings import Settings
from tasks.server.temporary_server import temporary_server


def set_environment() -> None:
    """Set the environment of flows. Call it before Prefect or torch is imported: both read theirs then."""
    keep_loopback_direct()
    ignore_other_projects()
    find_running_servers()
    embed_prefect(Settings.from_environment(), temporary_server().api_url)
    set_variables(SAFE_PATH)
    # Idle threads that spin take a small machine's cores from the work; torch reads it when it is imported.
    set_defaults({"OMP_WAIT_POLICY": "PASSIVE"} | processes.thread_limits())
    # Prefect creates PREFECT_HOME when it is imported; a help page or a refusal leaves no folder behind.
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")


def ignore_other_projects() -> None:
    """Pass over empty variables, and over files of the working folder that are not this project's."""
    unset_empty()
    keep_prefect_from_files()


def set_environment_of_up() -> None:
    """Set the environment of `cl up`, which its servers and worker inherit, before Prefect is imported."""
    ignore_other_projects()
    set_defaults(processes.thread_limits())
    use_prefect_of(Settings.from_environment().home)


def find_running_servers() -> None:
    """Use the servers of the `cl up` that runs for this CL_HOME; an address of the environment wins."""
    from tasks.runtime.locks import is_locked

    settings = Settings.from_environment()
    if (settings.prefect_api_url and settings.mlflow_address) or not settings.addresses.exists():
        return
    if is_locked(settings.up_lock):
        with suppress(FileNotFoundError):  # It has just ended.
            set_defaults(json.loads(settings.addresses.read_text(encoding="utf-8")))
        if not settings.prefect_api_url:
            use_prefect_of(settings.home)
        account = settings.prefect_account.get_secret_value()
        set_defaults({"PREFECT_API_AUTH_STRING": account} if account else {})


def begin() -> None:
    """Get ready for a command's work, once its arguments are accepted."""
    # A scheduler's or a shell's SIGTERM ends a command as cleanly as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = Settings.from_environment()
    settings.make_home()
    if not settings.prefect_api_url:
        (settings.home / "prefect").mkdir(mode=0o700, exist_ok=True)


def cancel_at_ctrl_c() -> None:
    """Let Ctrl-C end a flow's run as Cancelled, wherever it is: in a step, between two, or waiting for another run."""
    # Where a shell started the command in the background, Ctrl-C stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _cancel_run)


def _cancel_run(*_: object) -> None:
    from tasks.runtime.compat import run_cancelled

    raise run_cancelled("")


def start_prefect(*meanwhile: str) -> None:
    """Start Prefect's temporary server if there is no other one, and wait for it.

    Args:
        meanwhile: Modules that the command needs soon, imported while the server starts.

    Raises:
        InfrastructureError: When it does not start.
    """
    settings = Settings.from_environment()
    if settings.prefect_api_url:
        return
    temporary_server().start(settings.home / "prefect")
    for module in meanwhile:
        importlib.import_module(module)
    from prefect.settings import get_current_settings

    timeout_s = get_current_settings().server.ephemeral.startup_timeout_seconds
    temporary_server().wait_until_ready(timeout_s=timeout_s)


def check_prefect_answers() -> None:
    """Refuse a flow whose runs no Prefect would record; the temporary server has answered by now.

    Raises:
        InfrastructureError: When the Prefect server of the settings does not answer.
        InputError: When it refuses access.
    """
    address = Settings.from_environment().prefect_api_url
    if not address:
        return
    import httpx
    from prefect import get_client

    from tasks.adapters.mlflow.connection import redacted_uri

    server = f"the Prefect server at {redacted_uri(address)}"
    try:
        with get_client(sync_client=True) as client:
            client.raise_for_api_version_mismatch()
    except httpx.HTTPStatusError as error:
        raise InputError(
            f"{server} refuses access ({error.response.status_code}); set PREFECT_API_AUTH_STRING to an account of it"
        ) from error
    except (RuntimeError, httpx.HTTPError) as error:
        raise InfrastructureError(
            f"{server} does not answer; start it, or correct the setting PREFECT_API_URL (unset, it is that of `cl up` "
            "or a temporary one), and run the same command again"
        ) from error


def check_prefect_address() -> None:
    """Refuse a command that would ask a temporary server about the runs of a `cl up`.

    Raises:
        InputError: When `cl up` runs for this CL_HOME and it is not known where its Prefect is.
    """
    from tasks.runtime.locks import is_locked

    settings = Settings.from_environment()
    if not settings.prefect_api_url and is_locked(settings.up_lock):
        raise InputError(
            "`cl up` is starting for this CL_HOME, and its runs cannot be read yet; run the command again when it is "
            "ready"
        )


def check_home() -> None:
    """Refuse a flow in a home that was moved, before a server starts or anything is trained.

    Raises:
        InputError: When MLflow's database records artifacts in another home.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from tasks.adapters.mlflow.artifact_locations import check_not_moved

    settings = Settings.from_environment()
    with suppress(SQLAlchemyError):  # The step that opens the database says what is wrong with it.
        check_not_moved(settings, settings.tracking_uri)


def check_compute(compute: ComputeSpec | None) -> None:
    """Refuse workers and threads that are not there, before a server starts; by default there are enough.

    Raises:
        SpecError: With the number allowed.
    """
    from tasks.adapters.ray.resources import check_machine

    if compute is not None:
        check_machine(compute)
