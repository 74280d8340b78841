"""Words that went, and what to write instead: one list for documentation, messages, help and forms.

`docs/glossary.md` has the terms that are used. Names that were renamed may be named in `docs/upgrading.md`.
"""

import re

WORDS: dict[str, str] = {
    # States of steps, runs and files.
    r"stands?(?! for\b)|stood|standing": "is up to date, is cached, is reused; exists; is in",
    r"mend(s|ed|ing)?": "repair, fix",
    r"heal(s|ed|ing)?": "recover, recovery",
    r"reviv(e|es|ed|al|ing|er)": "recover, recovery",
    r"(puts?|putting) (\w+ )?back( to work)?": "reschedule",
    r"go(es)? on (from|with|where)": "resume",
    r"ashes": "zombie process",
    r"leavings|leftovers?": "orphaned files",
    r"holdings?": "inventory",
    r"makings": "inputs",
    r"half[- ]written": "incomplete",
    # Programs and people.
    r"believ(e|es|ed)": "reports, expects",
    r"lets? us in": "cannot connect to",
    r"has spoken|speaks? for (it|them)": "has decided",
    r"nobody('s)?": "no one; name the subject",
    r"(is|are|was|were) told( of)?|tells? of|tell(s|ing)? (a|the) person": "is notified, notifies",
    # Things.
    r"leases?": "run owner",
    r"ledgers?": "run log",
    r"accounts?(?= of (a|the|its|each|every|this) (flow )?run)": "run log",
    r"sealed": "artifact directory; complete",
    r"handfuls?": "samples per class (samples_per_class)",
    r"succession": "champion history",
    r"undisturbed": "uninterrupted",
    r"revival": "recovery",
    # Turns of phrase.
    r"(what|that|which) is no": "is not a",
    r"bears?|bore": "has, carries",
    r"turns are taken|takes? turns": "are serialized",
    r"comes? to exactly|came to exactly": "end with the same result",
    r"in silence": "silently",
    r"put to the gate": "evaluated by the gate",
    r"leaves? the house": "is exported",
    # American English, as PyTorch, MLflow and Prefect have it.
    r"(colour|behaviour|neighbour|favour|honour)\w*": "color, behavior, neighbor, favor, honor",
    r"gr[e]y(scale|s)?": "gray, grayscale",
    r"\w*(normali|optimi|standardi|seriali|initiali|synchroni|organi|recogni|summari|minimi|maximi|finali)"
    r"s(e|es|ed|ing|ation|ations|er|ers)": "-ize, -ization",
    r"(un)?labelled|modelled|learnt": "labeled, unlabeled, modeled, learned",
}

NAMES: dict[str, str] = {
    r"cl measure": "cl evaluate-model",
    r"cl chaos": "make chaos",
    r"cl parity": "make parity",
    r"--mend": "--fix",
    r"`published`|\"published\"": "paper",
}


def offenders(text: str, *, names: bool = True) -> list[str]:
    """Return each old word in a text, with what to write instead.

    Args:
        text: For people: no code.
        names: Whether commands, options and values that were renamed count as well.
    """
    found = []
    for word, instead in {**WORDS, **(NAMES if names else {})}.items():
        pattern = word if word in NAMES else rf"\b(?:{word})\b"
        found += [f"{match[0]!r}: write {instead}" for match in re.finditer(pattern, text, re.IGNORECASE)]
    return found
