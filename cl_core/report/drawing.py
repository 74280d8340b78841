"""Turn a matplotlib figure into markup inside the page: transparent, in the page's own font and colors.

Figures are drawn in placeholder colors. In the markup each becomes a variable of the page's style, so that one drawing
serves the light and the dark scheme. No pyplot: it keeps figures in global state, which leaks between flow runs.
"""

import colorsys
import html
import io
import re
import warnings

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

_NAMES = ("ink", "muted", "line", "on-accent", "accent", "trained", "untrained", "baseline", "champion")
_VARIABLES = {f"#0{number}0{number}0{number}": name for number, name in enumerate(_NAMES, 1)}
INK, MUTED, LINE, ON_ACCENT, ACCENT, TRAINED, UNTRAINED, BASELINE, CHAMPION = _VARIABLES
# Tableau's ten: told apart on white and on near-black alike.
_TEN = ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#d4ac2b", "#b07aa1", "#ff9da7", "#9c755f", "#8d99ae"]


def new_figure(width: float, height: float) -> Figure:
    """Create a transparent figure whose unit, in sizes and fonts alike, is one pixel of the page."""
    return Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained", facecolor="none")


def plain_axes(figure: Figure) -> Axes:
    """Add axes with a quiet grid and no frame."""
    axes = figure.add_subplot(facecolor="none")
    axes.spines[:].set_visible(False)
    axes.grid(color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=11, labelcolor=MUTED)
    return axes


def class_colors(count: int) -> list[str]:
    """Return one color per class: ten chosen ones, or as many even steps around the wheel."""
    if count <= len(_TEN):
        return _TEN[:count]
    return [to_hex(colorsys.hls_to_rgb(index / count, 0.45 + 0.15 * (index % 2), 0.6)) for index in range(count)]


def to_svg(figure: Figure, description: str) -> Markup:
    """Return the figure as an inline `<svg>` that shrinks with the window; the same bytes for the same figure."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "counterpoint"}), warnings.catch_warnings():
        # Texts stay texts, drawn by the browser, which has glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    width, height = figure.get_size_inches() * 72
    svg = buffer.getvalue()
    svg = svg[svg.index(">", svg.index("<svg")) + 1 :]
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # matplotlib counts from 1 in every figure; ids must be unique in a page
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, f"var(--{variable})")
    # Every text and attribute in the body was escaped by matplotlib's XML writer.
    return Markup(  # noqa: S704
        f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width: {width:g}px" role="img" '
        f'aria-label="{html.escape(description)}">{svg}'
    )
