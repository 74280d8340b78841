"""What people read is in plain words and short sentences.

The pages in docs/reference are generated: their words are those of the code, and are tested there.
"""

import re

from pages import name, pages, prose, sentences
from words import offenders

MOST_WORDS = 30


def test_no_page_has_a_word_that_went():
    found = []
    for page in pages():
        old_names_may_be_named = page.name == "upgrading.md"
        text = re.sub(r"`[^`\n]*`", "", prose(page)) if old_names_may_be_named else prose(page)
        found += [f"{name(page)}: {each}" for each in offenders(text, names=not old_names_may_be_named)]
    assert not found, "\n".join(found)


def test_no_sentence_is_longer_than_thirty_words():
    lengths = {(name(page), text): number_of_words(text) for page in pages() for text in sentences(page)}
    found = [f"{page} ({words} words): {text}" for (page, text), words in lengths.items() if words > MOST_WORDS]
    assert not found, "\n".join(found)


def number_of_words(text):
    """Count words; code is one, however much it holds."""
    return sum(bool(re.search(r"\w", word)) for word in re.sub(r"`[^`]*`", "code", text).split())


def test_the_readme_has_at_most_120_lines():
    assert len(pages()[0].read_text().splitlines()) <= 120
