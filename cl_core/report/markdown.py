"""Pages of markdown that the Prefect UI shows of a run, and how text becomes markdown."""

import re
from collections.abc import Iterable, Mapping, Sequence

from cl_core.data.snapshot import SnapshotProfile
from cl_core.data.validation import ValidationReport
from cl_core.refs import Decision
from cl_core.report.wording import gain

_LISTED_CLASSES = 50


def profile_markdown(facts: SnapshotProfile, validation: ValidationReport, *, note: str, changed: str) -> str:
    """The data that a run trains on.

    Args:
        facts: Of the snapshot.
        validation: The numbers on which it was accepted.
        note: What the ingestion did, or why it had nothing to do.
        changed: Since the snapshot before, in one sentence.
    """
    near = validation.near_duplicates
    splits = sorted(facts.rows, reverse=True)
    at_least = "" if near.complete else "at least "
    sizes = [f"{size.width} x {size.height} ({size.count:,})" for size in facts.sizes[:5]]
    more = f" and {facts.distinct_sizes - 5:,} more sizes" if facts.distinct_sizes > 5 else ""
    rejected = [f"{count:,} {reason}" for reason, count in facts.quarantined.items()]
    rows = {
        "What changed": changed,
        "Ingestion": note,
        "Snapshot": facts.digest,
        "Samples": ", ".join(f"{facts.rows[split]:,} {split}" for split in splits),
        "Without a label": ", ".join(f"{facts.unlabelled[split]:,} {split}" for split in splits),
        "Quarantine": f"{', '.join(rejected) or 'none'} of {facts.inputs:,} inputs "
        f"({validation.quarantined_share:.1%})",
        "Copies merged": f"{facts.duplicates:,}",
        "Near-duplicates": f"{at_least}{near.test_images:,} test images ({near.test_share:.1%}) look like a training "
        f"image, in {at_least}{near.pairs:,} pairs",
        "Image sizes": ", ".join(sizes) + more,
        "Formats": ", ".join(f"{count:,} {name}" for name, count in facts.formats.items()),
        "Channels": "greyscale" if facts.channels == 1 else "colour",
    }
    parts = [f"# Data: {escaped(facts.name)}", table([{"": what, "value": value} for what, value in rows.items()])]
    if facts.classes:
        listed = facts.classes[:_LISTED_CLASSES]
        counts = [
            {"class": name, **{split: f"{facts.per_class[split].get(name, 0):,}" for split in splits}}
            for name in listed
        ]
        parts += [f"## {len(facts.classes):,} classes", table(counts)]
        if len(listed) < len(facts.classes):
            parts.append(f"_and {len(facts.classes) - len(listed):,} more_")
    return "\n\n".join(parts) + "\n"


def decision_markdown(decision: Decision) -> str:
    """What was decided about a version, and which one users fetch now."""
    word = "promoted" if decision.promoted else "not promoted"
    champion = f"models:/{decision.name}/{decision.champion}" if decision.champion else "none"
    rows = {
        "Model": decision.name,
        "Version": str(decision.version),
        "Promoted": "yes" if decision.promoted else "no",
        "Reason": decision.reason,
        "Gain over the champion": gain(decision.gain) if decision.gain else "there was none to compare with",
        "Champion now": champion,
    }
    title = f"# {escaped(decision.name)} version {decision.version} is {word}"
    return f"{title}\n\n{table([{'': what, 'value': value} for what, value in rows.items()])}\n"


def links_markdown(links: Mapping[str, str]) -> str:
    """Where things stand: addresses to click on, paths and commands to copy."""
    return "\n".join(f"- {escaped(name)}: {linked(place)}" for name, place in links.items()) + "\n"


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows under the names of the first one's columns."""
    return "\n".join([_line(rows[0]), "|---" * len(rows[0]) + "|", *(_line(row.values()) for row in rows)])


def linked(place: str) -> str:
    """An address as a link, anything else as code."""
    return f"<{place}>" if re.fullmatch(r"https?://[^\s<>]+", place) else f"`{place.replace('`', ' ')}`"


def escaped(text: str) -> str:
    """Text that markdown shows as it is: no markup, no HTML, one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(escaped, cells)) + " |"
