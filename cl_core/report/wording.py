"""How numbers and names are written, the same in the page, the markdown and the terminal."""

from collections.abc import Mapping

from cl_core.refs import Score

SHARES = ("accuracy", "precision", "recall", "f1")

MEANING = {
    "accuracy": "Share of the test split whose class is found. Higher is better.",
    "precision": "Share of what is called a class that is of that class; the mean over classes. Higher is better.",
    "recall": "Share of a class that is found; the mean over classes. Higher is better.",
    "f1": "Harmonic mean of precision and recall; the mean over classes. Higher is better.",
    "alignment": "Mean squared distance between two views of the same image. Lower is better.",
    "uniformity": "How evenly the embeddings cover the sphere, as a log of a mean potential. Lower is better.",
    "effective_rank": "Directions that the embeddings really use. Near 1 they have collapsed.",
}


def is_share(score: str) -> bool:
    """Whether a score, by its name, is a share of the test split: between 0 and 1, higher is better."""
    return score.rsplit(".", 1)[-1].endswith(SHARES)


def meanings(scores: Mapping[str, Score]) -> dict[str, str]:
    """What the kinds of score in `scores` mean, in words."""
    return {kind: text for kind, text in MEANING.items() if any(name.endswith(kind) for name in scores)}


def format_number(value: float) -> str:
    """Three decimals for what is small, none for what is large: 0.871, 43.2, 1,024."""
    if abs(value) < 10:
        return f"{value:.3f}"
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def format_interval(score: Score) -> str:
    """The 95 % interval, in brackets."""
    return f"[{format_number(score.low)}, {format_number(score.high)}]"


def format_gain(score: Score) -> str:
    """A difference, always with its sign: +0.012 [+0.004, +0.020]."""
    return f"{score.value:+.3f} [{score.low:+.3f}, {score.high:+.3f}]"


def format_duration(seconds: float) -> str:
    """Two units at most: 0.4 s, 12 s, 2 min 14 s, 3 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{minutes} min {rest} s" if hours < 1 else f"{hours} h {minutes_left} min"


def humanized(name: str) -> str:
    """An identifier as words: raw_pixels becomes raw pixels."""
    return name.replace("_", " ")


def shortened(name: str, length: int = 22) -> str:
    """A name that fits beside a figure."""
    return name if len(name) <= length else name[: length - 1] + "…"
