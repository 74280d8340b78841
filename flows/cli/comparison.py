"""The command that compares losses with other libraries' implementations."""

import sys


def parity() -> None:
    """Compare losses and method parts with reference libraries."""
    from cl_core.parity import ELSEWHERE, checks, compare
    from flows.cli.render import show_parity

    findings = [compare(check) for check in checks()]
    show_parity(findings, ELSEWHERE)
    if any(finding.verdict == "differs" for finding in findings):
        sys.exit(1)
