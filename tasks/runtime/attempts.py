"""How often one flow run may be put back to work after its process has died."""

from prefect.runtime import flow_run

from cl_core.errors import CounterpointError

MAX_ATTEMPTS = 10


class TooManyAttemptsError(CounterpointError):
    """The same run died so often that a person has to look."""


def count_attempt() -> int:
    """The number of this attempt at the flow run, from 1.

    Raises:
        TooManyAttemptsError: Beyond `MAX_ATTEMPTS`: the run then fails, and is not put back to work.
    """
    attempt = int(flow_run.run_count or 1)
    if attempt > MAX_ATTEMPTS:
        raise TooManyAttemptsError(
            f"the process of this run died {MAX_ATTEMPTS} times, and it is not tried again: see its log for where, "
            "and the system's for why (out of memory?); then retry it by hand, which goes on from the last checkpoint"
        )
    return attempt
