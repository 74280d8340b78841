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
        "This project and a library compute each quantity from the same float64 embeddings.",
        f"The verdict is equal when neither value nor gradient differs by more than {TOLERANCE:g}.",
        "",
        "| part | quantity | library | value | theirs | difference | of gradients | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        check = result.check
        numbers = (result.ours, result.theirs, result.value_difference, result.gradient_difference)
        shown = [
            "" if math.isnan(number) else form.format(number)
            for number, form in zip(numbers, ("{:.6f}", "{:.6f}", "{:.0e}", "{:.0e}"), strict=True)
        ]
        library = f"{check.library} {result.version}".strip()
        lines.append(f"| {check.part} | {check.what} | {library} | {' | '.join(shown)} | {result.verdict} |")
    lines += ["", "Parts without a row of their own:", ""]
    lines += [f"- `{part}`: {reason}" for part, reason in sorted(ELSEWHERE.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
