"""The command that looks for what is wrong, and mends it."""

import sys

from flows.cli.app import app, check_addressed, prepare


@app.command
def doctor(*, mend: bool = False) -> None:
    """Compare what Prefect and MLflow believe with what runs and stands here; exit with 1 when something is wrong.

    Args:
        mend: Mend what can be mended without a person's decision, and say what was done.
    """
    check_addressed()
    prepare()
    from flows.cli.render import show_findings
    from tasks.server.diagnostics import diagnose

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
