"""The command that looks for what is wrong, and mends it."""

import os
import sys

from cl_core.errors import InputError
from flows.app import app, prepare


@app.command
def doctor(*, mend: bool = False) -> None:
    """Compare what Prefect and MLflow believe with what runs and stands here; exit with 1 when something is wrong.

    Args:
        mend: Mend what can be mended without a person's decision, and say what was done.
    """
    _check_addressed()
    prepare()
    from flows.summary import show_findings
    from tasks.doctor import diagnose

    findings = diagnose()
    if mend and findings:
        show_findings(findings, title="Found")
        for finding in findings:
            if finding.mend is not None:
                finding.mend()
                print(f"mended: {finding.what} ({finding.where}): {finding.remedy}")
        findings = diagnose()
    if not findings:
        print("Nothing is wrong: every run that Prefect believes in has its process, and nothing is half done.")
        return
    show_findings(findings, title="Wrong")
    sys.exit(1)


def _check_addressed() -> None:
    """Refuse to look past the servers that run for this home."""
    from tasks.leftovers import is_held
    from tasks.settings import Settings

    lock = Settings.from_environment().work / "up.lock"
    if "PREFECT_API_URL" not in os.environ and lock.exists() and is_held(lock):
        raise InputError(
            "`cl up` runs for this CL_HOME, but PREFECT_API_URL is not set, so its runs cannot be asked for; "
            "its screen shows the line that sets it"
        )
