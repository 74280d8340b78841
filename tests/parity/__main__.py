"""`make parity`: compare each loss and method part with the installed reference libraries, and write the table.

Ends with 1 when a value or a gradient differs.
"""

import math
import sys
from pathlib import Path

from cl_core import artifact_dir
from parity.checks import ELSEWHERE, TOLERANCE, ParityResult, checks, compare


def main() -> None:
    results = [compare(check) for check in checks()]
    table = markdown(results)
    print(table, end="")
    if len(sys.argv) > 1:
        page = Path(sys.argv[1])
        page.parent.mkdir(parents=True, exist_ok=True)
        artifact_dir.write_text(page, table)
    if any(result.verdict == "differs" for result in results):
        sys.exit(1)


def markdown(results: list[ParityResult]) -> str:
    """Return the page: a row for each check, then the parts without one and the reason."""
    lines = [
        "# Parity with reference libraries",
        "",
        "<!-- Written by `make parity`; see CONTRIBUTING.md. -->",
        "",
        "Counterpoint and a library compute each quantity from the same float64 embeddings. The verdict is *equal*",
        f"when neither the values nor any number of the gradients differ by more than {TOLERANCE:g}; the largest",
        "difference is shown. `make parity` compares them on your machine.",
        "",
        "| part | quantity | library | verdict | value | difference |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        check = result.check
        numbers = (result.ours, max(result.value_difference, result.gradient_difference))
        shown = [
            "" if math.isnan(number) else form.format(number)
            for number, form in zip(numbers, ("{:.6f}", "{:.0e}"), strict=True)
        ]
        library = f"{check.library} {result.version}".strip()
        lines.append(f"| {check.part} | {check.what} | {library} | {result.verdict} | {' | '.join(shown)} |")
    lines += ["", "Parts without a row of their own:", ""]
    lines += [f"- `{part}`: {reason}" for part, reason in sorted(ELSEWHERE.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
