"""Views of texts: what dropout keys are drawn from, and which words are deleted, masked and swapped."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from texts import fitted_to, rows_of, split_of_texts

from cl_core.columns import SamplePool
from cl_core.rng import SampleRng
from cl_core.views.both_sides import BothSidesViews
from cl_core.views.dropout_twice import DropoutTwiceViews
from cl_core.views.word_noise import WordNoiseViews

pytestmark = pytest.mark.usefixtures("compiled_texts")

TEXT = "(zero) one, two  three-four. five"
WORDS = ["zero", "one", "two", "three", "four", "five"]
N = 2000


def made(policy, texts, *, seed=0):
    processor = fitted_to(texts[:9])
    rng = SampleRng(seed, 0, np.arange(len(texts), dtype=np.uint64))
    pool = SamplePool(split_of_texts(texts[:2]).columns)
    return processor.layout, policy((rows_of(texts),), rng=rng, processor=processor, pool=pool)


def shown(layout, view) -> list[str]:
    return [bytes(row).rstrip(b"\0").replace(b"\xff", b"_").decode() for row in layout.texts(view).tolist()]


def between(text: str) -> str:
    return "".join(character for character in text if not character.isalpha())


def test_dropout_twice_gives_each_text_two_keys_and_nothing_else():
    layout, views = made(DropoutTwiceViews(), [TEXT] * N)
    first, second = (layout.noise_keys(view) for view in views)
    assert int(min(first.min(), second.min())) >= 1 and int(max(first.max(), second.max())) <= 2**24
    assert len({*first.tolist(), *second.tolist()}) > 2 * N - 5
    assert views[0][:, 1:].equal(views[1][:, 1:]) and set(shown(layout, views[0])) == {TEXT}
    uniform = torch.cat([first, second]).double() / 2**24
    assert uniform.mean().item() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / (2 * N)))


def test_words_are_deleted_and_masked_as_often_as_asked_independently_of_each_other():
    policy = WordNoiseViews(delete=0.2, mask=0.1, swap=0)
    layout, views = made(policy, [TEXT] * N)
    for view in views:
        texts = shown(layout, view)
        # What is between words stays where it is.
        assert {"".join(c for c in text if c in "(),.-") for text in texts} == {"(),-."}
        assert all(len(text.ljust(len(TEXT))) == len(TEXT) for text in texts)
        for word in WORDS:
            start = TEXT.index(word)
            here = Counter(text.ljust(len(TEXT))[start : start + len(word)] for text in texts)
            assert set(here) == {word, " " * len(word), "_" * len(word)}
            # One of six words always stays, that with the greatest of six draws, so the shares are those of the others.
            for what, share in ((" ", 0.2), ("_", 0.1)):
                assert here[what * len(word)] / N == pytest.approx(share, abs=4 * math.sqrt(share / N))
    same = np.mean([a == b for a, b in zip(*(shown(layout, view) for view in views), strict=True)])
    assert same < 0.1


def test_a_text_keeps_one_word_and_one_without_words_stays():
    layout, views = made(WordNoiseViews(delete=0.9, mask=0, swap=1), ["one word", "alone", "!?"] * 300)
    texts = shown(layout, views[0])
    assert all(text.strip() in ("one", "word") or set(text.split()) == {"one", "word"} for text in texts[::3])
    assert set(texts[1::3]) == {"alone"} and set(texts[2::3]) == {"!?"}


def test_neighbors_are_swapped_between_what_stays_in_place():
    layout, views = made(WordNoiseViews(delete=0, mask=0, swap=0.2), [TEXT] * N)
    texts = shown(layout, views[0])
    for text in texts:
        words = text.translate(str.maketrans("(),.-", "     ")).split()
        assert sorted(words) == sorted(WORDS)
        assert between(text) == between(TEXT)
        moved = [words.index(word) - place for place, word in enumerate(WORDS)]
        assert min(moved) >= -5 and max(moved) <= 5
    kept = np.mean([text == TEXT for text in texts])
    assert kept == pytest.approx(0.8**5, abs=4 * math.sqrt(0.22 / N))
    first = Counter(text.split(")")[0].strip("(") for text in texts)
    assert first["one"] / N == pytest.approx(0.2 * 0.8 + 0.2 * 0.2, abs=0.06)


def test_views_of_a_text_do_not_depend_on_the_others():
    texts = [f"{TEXT} {number}" for number in range(40)]
    for policy in (WordNoiseViews(), DropoutTwiceViews()):
        processor = fitted_to(texts[:9])
        pool = SamplePool(split_of_texts(texts[:2]).columns)

        def views(chosen, policy=policy, processor=processor, pool=pool):
            rng = SampleRng(4, 2, chosen.astype(np.uint64))
            return policy((rows_of([texts[n] for n in chosen]),), rng=rng, processor=processor, pool=pool)

        whole, part = views(np.arange(40)), views(np.array([7, 3, 39]))
        for a, b in zip(whole, part, strict=True):
            assert a[[7, 3, 39]].equal(b)


def test_one_view_may_be_the_text_itself():
    layout, views = made(WordNoiseViews(delete=0.5, noisy="one"), [TEXT] * 50)
    assert set(shown(layout, views[0])) == {TEXT} and len(set(shown(layout, views[1]))) > 10


def test_noise_that_leaves_nothing_is_refused():
    with pytest.raises(ValidationError, match=r"delete 0.5 and mask 0.5 are more than 0.9 together"):
        WordNoiseViews(delete=0.5, mask=0.5)


def test_both_sides_gives_the_text_of_each_side_with_a_key_of_its_own():
    firsts, seconds = [TEXT, "a dog", "世界"], ["three", "four five", "(zero)"]
    processor, rng = fitted_to([*firsts, *seconds]), SampleRng(0, 0, np.arange(3, dtype=np.uint64))
    pool = SamplePool(split_of_texts(firsts).columns)
    rows = (rows_of(firsts), rows_of(seconds))
    views = BothSidesViews()(rows, rng=rng, processor=processor, pool=pool)
    for view, side in zip(views, rows, strict=True):
        assert view[:, 1:].equal(processor((side,))[:, 1:])
    keys = torch.stack([processor.layout.noise_keys(view) for view in views])
    assert len(set(keys.flatten().tolist())) == 6 and keys.min() >= 1
