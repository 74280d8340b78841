"""Draw what `make bench` kept: `python tests/benchmarks/charts.py FILE.svg` writes a picture of the newest rates.

A bar is the median of the ratios of all rounds to the named peer, on a logarithmic axis; its line reaches from the
smallest to the largest.
"""

import contextlib
import statistics
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rounds import kept_rates

# By block: the peer that all are divided by, and how many times as fast is on the axis.
BASES = {"views": "lightly, 1 core", "read": "Hugging Face datasets", "epoch": "lightly", "evaluation": "scikit-learn"}
TITLES = {
    "views": "Two views of each image",
    "read": "Reading all images, shuffled",
    "epoch": "An epoch, from cached images to weights",
    "evaluation": "Evaluation",
}
_OWN = ("fused", "torch,", "here")
_AXIS = 0.2, 500  # Of all charts, so that bars can be compared.


def draw(axes: Axes, block: str, title: str, rates: dict[str, list[float]]) -> None:
    """Draw a bar for each contestant but the peer that they are divided by."""
    base = BASES[block]
    names = [name for name in rates if name != base and not name.startswith("limit")]
    for place, name in enumerate(reversed(names)):
        ratios = [mine / its for mine, its in zip(rates[name], rates[base], strict=True)]
        middle = statistics.median(ratios)
        axes.barh(place, middle, color="#2c6e8f" if name.startswith(_OWN) else "#b9c4cc", height=0.7)
        axes.plot([min(ratios), max(ratios)], [place, place], color="#1d242b", linewidth=1)
        shown = f" {middle:.{0 if middle >= 10 else 1}f}x"
        axes.annotate(shown, (max(middle, max(ratios)), place), va="center", fontsize=9)
    axes.set_yticks(range(len(names)), list(reversed(names)), fontsize=9)
    axes.axvline(1, color="#1d242b", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlim(*_AXIS)
    axes.xaxis.set_major_formatter("{x:g}x")
    axes.set_title(", ".join(filter(None, (TITLES[block], title))), fontsize=10, loc="left")
    axes.set_xlabel(f"times {base}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def main() -> None:
    """Draw all blocks that were measured below each other."""
    drawn = []
    for block in BASES:
        with contextlib.suppress(FileNotFoundError):
            drawn += [(block, *part) for part in kept_rates(block).items()]
    if not drawn:
        raise SystemExit(f"nothing was measured of {', '.join(BASES)}; run make bench")
    figure = Figure(figsize=(9, sum(0.85 + 0.19 * len(rates) for _, _, rates in drawn)), layout="constrained")
    axes = figure.subplots(len(drawn), 1, height_ratios=[3 + len(rates) for _, _, rates in drawn])
    for axis, (block, title, rates) in zip(axes, drawn, strict=True):
        draw(axis, block, title, rates)
    figure.savefig(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
