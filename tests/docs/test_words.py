"""What people read is in plain words and short sentences.

The pages in docs/reference are generated: a sentence in them is corrected in the code that it comes from.
"""

import re

from pages import REFERENCE, name, pages, prose, sentences
from words import offenders

MOST_WORDS = 30
GENERATED = sorted(REFERENCE.glob("*.md"))


def test_no_page_has_a_word_that_went():
    found = []
    for page in [*pages(), *GENERATED]:
        old_names_may_be_named = page.name == "upgrading.md"
        # Code in a generated page is a name that the code has.
        without_code = old_names_may_be_named or page in GENERATED
        text = re.sub(r"`[^`\n]*`", "", prose(page)) if without_code else prose(page)
        found += [f"{name(page)}: {each}" for each in offenders(text, names=not old_names_may_be_named)]
    assert not found, "\n".join(found)


def test_no_sentence_is_longer_than_thirty_words():
    lengths = {(name(page), text): number_of_words(text) for page in [*pages(), *GENERATED] for text in sentences(page)}
    found = [f"{page} ({words} words): {text}" for (page, text), words in lengths.items() if words > MOST_WORDS]
    assert not found, "\n".join(found)


def number_of_words(text):
    """Count words; code is one, however much it holds."""
    return sum(bool(re.search(r"\w", word)) for word in re.sub(r"`[^`]*`", "code", text).split())


def test_the_readme_has_at_most_120_lines():
    assert len(pages()[0].read_text().splitlines()) <= 120
