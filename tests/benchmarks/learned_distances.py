"""Draw distances of embeddings against distances of samples: `python tests/benchmarks/learned_distances.py FILE`."""

import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from test_learned_distances import COLORS, PICTURES, agreement, distances  # noqa: E402

_PAIRS = 1500


def draw(file: Path) -> None:
    figure = Figure(figsize=(9, 7.2), layout="constrained")
    axes = figure.subplots(2, 2, sharey=True)
    chosen = np.random.default_rng(0)
    for row, (given, title, unit) in zip(
        axes,
        [(COLORS, "colors", "distance on the color cube"), (PICTURES, "pictures", "root of differing pixels")],
        strict=True,
    ):
        with tempfile.TemporaryDirectory() as folder:
            found = distances(Path(folder), *given)
        for axis, (name, pairs) in zip(row, found.items(), strict=True):
            shown = chosen.choice(len(pairs[0]), _PAIRS, replace=False)
            axis.scatter(pairs[0][shown], pairs[1][shown], s=4, alpha=0.35, linewidths=0, color="#2c6e8f")
            axis.set_title(f"{title}, {name}: {agreement(pairs):.2f}", fontsize=11)
            axis.set_xlabel(unit)
            axis.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("distance of embeddings")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
