"""Format numbers and names, the same in the page, in Markdown and in the terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cl_core.refs import Score

if TYPE_CHECKING:
    from cl_core.data.snapshot import GroupCounts
    from cl_core.data.validation import NearDuplicates

SHARES = ("accuracy", "precision", "recall", "f1", "auc")

MEANING = {
    "accuracy": "Fraction of the test split whose class is predicted correctly. Higher is better.",
    "precision": "Fraction of the samples predicted as a class that belong to it; mean over classes. Higher is better.",
    "recall": "Fraction of a class that is predicted correctly; mean over classes. Higher is better.",
    "f1": "Harmonic mean of precision and recall; mean over classes. Higher is better.",
    "recall_at_1": "Fraction of samples whose match, of the same class or their own other view, is most similar.",
    "recall_at_10": "Fraction of samples with a match among the 10 most similar ones. Higher is better.",
    "verification.accuracy": "Fraction of pairs that are rightly taken as one class or two. Chance is 0.5.",
    "auc": "Chance that a pair of one class is more similar than a pair of two. Chance level is 0.5.",
    "tar_at_far_1_in_100": "Fraction of pairs of one class accepted where 1 in 100 of two classes is accepted, too.",
    "tar_at_far_1_in_1000": "The same where 1 in 1,000 pairs of two classes is accepted. Higher is better.",
    "mean_average_precision": "How far matches come before others in a sample's search. Higher is better.",
    "reciprocal_rank": "Mean of 1 / rank of a sample's other view among all. Higher is better.",
    "spearman": "Rank correlation of the cosines of pairs of texts with ratings by people. 1 is the same order.",
    "alignment": "Mean squared distance between two views of the same sample. Lower is better.",
    "uniformity": "Log of the mean Gaussian potential between embeddings. Lower: spread more evenly over the sphere.",
    "effective_rank": "Number of directions that the embeddings use. Near 1 they have collapsed.",
}

_MANY_NEAR_DUPLICATES = 0.05  # Of the test samples.
_BARS = "▁▂▃▄▅▆▇█"


def is_share(score: str) -> bool:
    """Return whether a score is a fraction of samples or pairs, by its name: between 0 and 1, higher is better."""
    figure = score.rsplit(".", 1)[-1]
    return figure.endswith(SHARES) or figure.startswith(("recall_at_", "accuracy_at_", "tar_at_far_"))


def format_number(value: float) -> str:
    """Write three decimals of a small number, none of a large one: 0.871, 43.2, 1,024."""
    if abs(value) < 10:
        return f"{value:.3f}"
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def format_interval(score: Score) -> str:
    """Write the 95 % interval, in brackets."""
    return f"[{format_number(score.low)}, {format_number(score.high)}]"


def format_score(score: Score | None, missing: str) -> str:
    """Write a value and its 95 % interval, or `missing` for a score that was not measured."""
    return f"{format_number(score.value)} {format_interval(score)}" if score else missing


def format_gain(score: Score) -> str:
    """Write a difference, always with its sign: +0.012 [+0.004, +0.020]."""
    return f"{score.value:+.3f} [{score.low:+.3f}, {score.high:+.3f}]"


def format_duration(seconds: float) -> str:
    """Write a duration in two units at most: 0.4 s, 12 s, 2 min 14 s, 3 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{minutes} min {rest} s" if hours < 1 else f"{hours} h {minutes_left} min"


def humanized(name: str) -> str:
    """Write an identifier as words: raw_pixels becomes raw pixels."""
    return name.replace("_", " ")


def counts(numbers: Mapping[str, int]) -> str:
    """Write counts by name: 60,000 train, 10,000 test."""
    return ", ".join(f"{count:,} {name}" for name, count in numbers.items())


def few_samples(classes: Mapping[str, int]) -> str:
    """Warn of intervals over classes with fewer than 5 test samples, of which the first are named."""
    named = ", ".join(f"{name} {count}" for name, count in list(classes.items())[:5])
    more = ", ..." if len(classes) > 5 else ""
    return (
        f"{len(classes)} of the classes have fewer than 5 test samples ({named}{more}): intervals of macro scores are "
        "unreliable, and those of these classes wide."
    )


def copies_warning(copies: int, origins: Sequence[str]) -> str:
    """Warn of training inputs whose copies are in the test split; empty without any."""
    if not copies:
        return ""
    named = ", ".join(origins[:3]) + (", ..." if copies > 3 else "")
    return (
        f"{copies:,} training inputs are copies of test samples ({named}) and are left out; quarantine.parquet lists "
        "them all."
    )


def test_only_warning(classes: Sequence[str], of: int) -> str:
    """Warn of classes that no classifier can predict, because no training sample has them; empty without any."""
    if not classes:
        return ""
    named = ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
    return (
        f"{len(classes):,} of {of:,} classes have test samples and no training sample ({named}): linear probe and "
        "nearest neighbors cannot predict them; the evaluations retrieval and verification measure such classes."
    )


def near_duplicate_warning(near: "NearDuplicates | None", unit: str) -> str:
    """Warn beside the scores if many test samples resemble a training sample; empty otherwise."""
    if near is None or near.test_share <= _MANY_NEAR_DUPLICATES:
        return ""
    named = "; ".join(f"{train} and {test}" for train, test in near.origins[:3])
    example = f", for example {named}" if named else ""
    return f"{near.test_share:.1%} of the test {unit}s resemble a training {unit}{example}: scores may be too high."


def parted_groups_warning(groups: "GroupCounts | None") -> str:
    """Warn beside the scores if the source has samples of one group in both splits; empty otherwise."""
    if groups is None or not groups.parted:
        return ""
    named = "; ".join(f"{train} and {test}" for train, test in groups.parted_origins[:3])
    number = f"{groups.parted:,} groups have" if groups.parted > 1 else "1 group has"
    return (
        f"{number} samples in both splits, because the source names these splits, for example {named}: scores may be "
        "too high."
    )


def shortened(name: str) -> str:
    """Cut a name so that it fits beside a figure."""
    return name if len(name) <= 22 else name[:21] + "…"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Draw a curve in one line of text, from its least (▁) to its greatest value (█)."""
    import numpy as np  # Here: commands import this module for other words, and their help is quick.

    if not len(values):
        return ""
    heights = np.array([part.mean() for part in np.array_split(np.asarray(values), min(width, len(values)))])
    span = np.ptp(heights)
    levels = (heights - heights.min()) / span * (len(_BARS) - 1) if span > 0 else np.zeros(len(heights))
    return "".join(_BARS[round(level)] for level in levels)


WORDING_FILTERS = {
    "number": format_number,
    "interval": format_interval,
    "gain": format_gain,
    "duration": format_duration,
    "humanized": humanized,
    "thousands": "{:,}".format,
    "counts": counts,
    "few_samples": few_samples,
    "copies_warning": copies_warning,
    "test_only_warning": test_only_warning,
    "near_duplicate_warning": near_duplicate_warning,
    "parted_groups_warning": parted_groups_warning,
    "sparkline": sparkline,
}
"""By the names that templates use."""
