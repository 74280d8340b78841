"""Words and n-grams that tensors find are those that Python finds, in any script."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from texts import finder, fitted_to, rows_of, split_of_texts, words_of

from cl_core.errors import DataError
from cl_core.modalities._byte_ngrams import ngram_buckets
from cl_core.modalities._text_processor import TextProcessor
from cl_core.modalities._text_vocabulary import WordCounts, chosen_words, count_frequencies
from cl_core.modalities._tf_idf import tf_idf
from cl_core.modalities._word_finder import MASKED, PRIME, keys_of
from cl_core.modalities.text import Texts

pytestmark = pytest.mark.usefixtures("compiled_texts")

SCRIPTS = [
    "Hello, WORLD: don't panic!",
    "İSTANBUL, ŞİŞLİ ve Ağr\N{LATIN SMALL LETTER DOTLESS I}",
    "ẞTRASSE, 300 \N{KELVIN SIGN}, 5 \N{ANGSTROM SIGN}, 2 \N{OHM SIGN}",
    "ΟΔΥΣΣΕΥΣ και Σίσυφος",
    "Съешь ЕЩЁ этих булок",
    "नमस्ते दुनिया",
    "你好\N{FULLWIDTH COMMA}世界。こんにちは",
    "שלום עולם",
    "مرحبا بالعالم",
    "e\N{COMBINING ACUTE ACCENT}tude E\N{COMBINING ACUTE ACCENT}",
    "a1b2 ½ ²",
    "\N{LATIN CAPITAL LETTER A WITH STROKE}b \N{DESERET CAPITAL LETTER LONG I} \N{GRINNING FACE}x",
    "snake_case-and.dots",
    "x" * 64,
    "x y" * 21,
    "",
]


def found(words: torch.Tensor) -> list[str]:
    return [part.decode() for part in bytes(words.tolist()).split(b"\0") if part]


@pytest.mark.parametrize("text", SCRIPTS)
def test_words_are_runs_of_letters_marks_and_numbers_in_lower_case(text: str) -> None:
    assert found(finder()(rows_of([text]))[0]) == list(filter(None, words_of(text)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=16), min_size=1, max_size=20))
@example(["\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}" * 16, "a\N{KELVIN SIGN}b"])
def test_words_of_any_text_are_those_that_python_finds(texts: list[str]) -> None:
    for words, text in zip(finder()(rows_of(texts)), texts, strict=True):
        assert found(words) == list(filter(None, words_of(text)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=64), min_size=1, max_size=20))
@example([b"a\xe4\xb8", b"\x80\xbfab", b"\xf5\x80\x80\x80c", b"caf\xe9 d", b"\xed\xa0\x80e"])
def test_what_is_not_utf8_is_between_words(texts: list[bytes]) -> None:
    """Python's decoder leaves out the same bytes, up to those that name characters there are not."""
    for words in finder()(rows_of(texts)).tolist():
        bytes(words).replace(bytes([MASKED]), b"").decode()


@pytest.fixture(scope="module")
def processor(compiled_texts: None) -> TextProcessor:
    return fitted_to(SCRIPTS[:9], buckets=500)


def same_in_one_pass(processor: TextProcessor, rows: torch.Tensor) -> bool:
    return processor._in_one_pass(rows).equal(processor._by_operations(rows))


def test_the_kernel_gives_the_numbers_of_the_tensor_operations(processor: TextProcessor) -> None:
    rows = rows_of(SCRIPTS)
    assert same_in_one_pass(processor, rows) and processor((rows,)).equal(processor._in_one_pass(rows))
    rng = np.random.default_rng(0)
    # Bytes that begin characters, continue them, end them too early, or are masked.
    of_some = np.array([0, 32, 65, 97, 0x80, 0x89, 0xB8, 0xC0, 0xC3, 0xE0, 0xE4, 0xF0, 0x9F, MASKED], np.uint8)
    for bytes_ in (rng.choice(of_some, (500, 64)), rng.integers(0, 256, (500, 64), dtype=np.uint8)):
        assert same_in_one_pass(processor, torch.from_numpy(bytes_))
    assert not fitted_to(SCRIPTS, buckets=0)((rows,))[:, 1 + 64 + 32 :].numel()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=16), min_size=1, max_size=20))
def test_the_kernel_gives_them_of_any_text(processor: TextProcessor, texts: list[str]) -> None:
    assert same_in_one_pass(processor, rows_of(texts))


def test_the_hash_of_a_word_is_a_polynomial_of_its_bytes() -> None:
    texts = ["one two", "  two, ONE", "zwölf 世界"]
    hashes = finder().hashes(finder()(rows_of(texts)), count=3)
    assert hashes.shape == (3, 3, 32) and hashes.dtype == torch.int64
    for of_text, text in zip(hashes, texts, strict=True):
        words = list(filter(None, words_of(text)))
        for row, base in zip(of_text.tolist(), (1_103_515_245, 1_566_083_941, 1_812_433_253), strict=True):
            wanted = [sum(b * pow(base, i, PRIME) for i, b in enumerate(word.encode())) % PRIME for word in words]
            assert row == wanted + [0] * (32 - len(words))
    keys = keys_of(hashes)
    assert keys[0, 0] == keys[1, 1] and keys[0, 1] == keys[1, 0] and keys[0, 0] != keys[0, 1]
    assert int(keys.max()) < 2**62


def test_byte_ngrams_are_those_of_scikit_learn_with_a_blank_around_each_word() -> None:
    texts = ["Hello, WORLD: don't", "a bb ccc dddd", "世界 ab", "!"]
    ids = ngram_buckets(finder()(rows_of(texts)), buckets=2**40)
    # Bytes as characters, so that scikit-learn's n-grams of characters are of bytes.
    spaced = [" ".join(filter(None, words_of(text))).encode().decode("latin-1") for text in texts]
    counter = CountVectorizer(analyzer="char_wb", ngram_range=(3, 5), lowercase=False)
    counts = counter.fit_transform(spaced).toarray()
    bases = {3: 69_069, 4: 1_664_525, 5: 22_695_477}

    def bucket(ngram: str) -> int:
        base = bases[len(ngram)]
        return sum(b * pow(base, i, PRIME) for i, b in enumerate(ngram.encode("latin-1"), 1)) % PRIME + 1

    names = [bucket(ngram) for ngram in counter.get_feature_names_out()]
    for row, of_text in zip(ids.tolist(), counts, strict=True):
        wanted = {name: int(count) for name, count in zip(names, of_text, strict=True) if count}
        assert {name: row.count(name) for name in set(row) - {0}} == wanted


def test_buckets_are_from_one_to_their_number() -> None:
    ids = ngram_buckets(finder()(rows_of(SCRIPTS)), buckets=7)
    assert sorted(set(ids.flatten().tolist())) == list(range(8))


def test_a_masked_word_is_one_word_without_ngrams() -> None:
    processor = fitted_to(["one two three"])
    masked = processor((rows_of([b"one \xff\xff\xff three"]),))
    ids = processor.layout.word_ids(masked)[0, :4].tolist()
    plain = processor.layout.word_ids(processor((rows_of(["one two three"]),)))[0, :4].tolist()
    assert ids == [plain[0], 1, plain[2], 0]
    apart = processor.layout.ngram_ids(processor((rows_of(["one     three"]),)))
    assert sorted(processor.layout.ngram_ids(masked)[0].tolist()) == sorted(apart[0].tolist())


def test_the_vocabulary_has_the_words_of_the_most_texts_and_idf_is_that_of_scikit_learn() -> None:
    texts = ["a cat sat", "a dog sat sat", "the cat", "Zebra, the cat!"]
    processor = fitted_to(texts, vocabulary=3, buckets=0)
    vectorizer = TfidfVectorizer(analyzer=lambda text: list(filter(None, words_of(text)))).fit(texts)
    idf = dict(zip(vectorizer.get_feature_names_out(), vectorizer.idf_, strict=True))
    ids = processor.layout.word_ids(processor((rows_of(["cat sat the a dog zebra"]),)))[0, :7].tolist()
    # cat is in three texts; a, sat and the in two each, of which two are kept.
    assert ids[0] > 1 and sum(number > 1 for number in ids[1:4]) == 2 and ids[4:] == [1, 1, 0]
    assert processor.idf[ids[0]].item() == pytest.approx(idf["cat"], abs=1e-6)
    # Ten words; of one of a, sat, the (2, 3 and 2 times), of dog and of zebra there is no vector.
    lost = {"a": 2, "sat": 3, "the": 2}[["sat", "the", "a"][[number > 1 for number in ids[1:4]].index(False)]]
    assert processor.unknown_share.item() == pytest.approx((lost + 2) / 12)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_processor_does_not_depend_on_the_blocks_in_which_texts_are_read(rows: int) -> None:
    texts = ["a cat sat", "a dog sat", "the cat", "a bird", "dog dog", "the bird sat", "!"]
    column = split_of_texts(texts).column
    counted = count_frequencies(column.blocks(rows), finder(), buckets=16)
    whole = count_frequencies(column.blocks(100), finder(), buckets=16)
    assert counted.texts == whole.texts == 7 and counted.unigrams == whole.unigrams == 15
    for part, of_all in zip((*counted.counts, counted.buckets), (*whole.counts, whole.buckets), strict=True):
        np.testing.assert_array_equal(part, of_all)


def test_two_words_of_one_hash_are_refused() -> None:
    keys, checks = np.array([5, 7, 7]), np.array([1, 1, 2])
    counts = WordCounts.of(keys, checks, texts=np.array([0, 0, 1]))
    assert counts.keys.tolist() == [5, 7, 7]
    with pytest.raises(DataError, match=r"^data.modality_options.vocabulary: 1 of 3 words have the same hash"):
        chosen_words(counts, most=3, least_texts=1)
    assert chosen_words(counts, most=2, least_texts=1).tolist() == [0, 1]


def test_texts_without_a_word_give_an_empty_vocabulary() -> None:
    processor = fitted_to(["!", "?!"])
    views = processor((rows_of(["word"]),))
    assert processor.layout.word_ids(views)[0, :2].tolist() == [1, 0]
    assert torch.isfinite(views).all() and processor.unknown_share.item() == 1


def test_the_baseline_is_the_tf_idf_of_scikit_learn() -> None:
    texts = [" ".join(np.random.default_rng(n).choice(list("abcdefghij"), 9)) for n in range(30)] + ["!"]
    modality = Texts(length=64, least_texts=1, buckets=0)
    processor = fitted_to(texts, buckets=0)
    features = modality.baseline_features((rows_of(texts).numpy(),), processor)
    wanted = TfidfVectorizer(token_pattern=r"\w+").fit_transform(texts).toarray()
    # Columns are in another order, which no cosine sees.
    np.testing.assert_allclose(features @ features.T, wanted @ wanted.T, atol=1e-6)
    assert features.shape == (31, 10) and not features[-1].any()


def test_words_that_share_a_column_cancel_on_average() -> None:
    """Weinberger et al. 2009, Lemma 2: the expected inner product is that without sharing."""
    rng = np.random.default_rng(0)
    ids = rng.integers(2, 4002, (400, 8))
    idf = np.ones(4002, np.float32)
    shared, whole = (tf_idf(ids, idf, columns=columns) for columns in (64, 4000))
    error = (shared @ shared.T - whole @ whole.T)[np.triu_indices(400, 1)]
    assert abs(error.mean()) < 0.005 and error.std() < 0.2


def test_without_numba_words_are_found_by_tensor_operations(
    processor: TextProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = processor((rows_of(SCRIPTS),))
    monkeypatch.setitem(sys.modules, "numba", None)
    alone = fitted_to(SCRIPTS[:9], buckets=500)
    monkeypatch.setattr(alone, "_in_one_pass", None)
    assert alone((rows_of(SCRIPTS),)).equal(wanted)
