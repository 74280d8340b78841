"""Texts: what is rejected, what is the same text, where a text is cut off, and how a person sees it."""

import unicodedata

import numpy as np
import pytest
import torch
from texts import LENGTH, fitted_to, rows_of, split_of_texts

from cl_core.columns import Columns, SamplePool, Split
from cl_core.encoders.mlp import MLP
from cl_core.encoders.resnet_small import ResNetSmall
from cl_core.errors import SpecError
from cl_core.modalities import ArraySpec, Rejected, joined
from cl_core.modalities._text_payloads import MAX_BYTES
from cl_core.modalities.text import Texts
from cl_core.modalities.text_pair import TextPairs
from cl_core.specs import DataSpec, TrainingSpec
from cl_core.training.component_checks import check_views
from cl_core.training.components import assemble

pytestmark = pytest.mark.usefixtures("compiled_texts")

TEXTS = Texts()
ARRAYS = (ArraySpec("uint8", (16,)),)


@pytest.mark.parametrize(
    ("payload", "reason", "detail"),
    [
        (b"", "empty", "no character that can be seen"),
        (" \u3000\u2028\n\t".encode(), "empty", "no character that can be seen"),
        ("\u200b\ufeff\u202e".encode(), "empty", "no character that can be seen"),
        (b"caf\xe9", "damaged", "it is not UTF-8: byte 3"),
        (b"\xed\xa0\x80", "damaged", "it is not UTF-8: byte 0"),
        (b"one\0two", "damaged", "character 3 is NUL"),
        (b"a" * (MAX_BYTES + 1), "too_large", "it has 1,048,577 bytes"),
    ],
)
def test_what_is_not_a_text_is_rejected_with_its_reason(payload: bytes, reason: str, detail: str) -> None:
    with pytest.raises(Rejected) as caught:
        TEXTS.inspect(payload, fingerprint=False)
    assert caught.value.reason == reason and detail in caught.value.detail


def test_an_hour_of_one_character_is_a_text_of_one_word() -> None:
    payload = "あ".encode() * (MAX_BYTES // 3)
    assert TEXTS.inspect(payload, fingerprint=False).format == "UTF-8"
    (row,) = TEXTS.decode(payload, (ArraySpec("uint8", (256,)),))
    assert len(row) == 255
    processor = fitted_to([payload[:255]], length=256)
    assert processor.layout.word_ids(processor((rows_of([payload[:255]], 256),))).count_nonzero() == 1


@pytest.mark.parametrize("text", ["aaaaaaaaaaaaaaaé", "aaaaaaaaaaaaaa世", "aaaaaaaaaaaaa😀b", "aaaaaaaaaaaaaaaab"])
def test_a_text_is_cut_off_between_characters(text: str) -> None:
    (row,) = TEXTS.decode(text.encode(), ARRAYS)
    assert text.startswith(row.tobytes().decode()) and 16 - len(row) < 4


def test_texts_that_differ_in_form_alone_are_the_same() -> None:
    forms = [unicodedata.normalize(form, "Crème  Brûlée") for form in ("NFC", "NFD")]
    same = [*forms, "crème brûlée\n", " CRÈME BRÛLÉE", "\N{FULLWIDTH LATIN SMALL LETTER C}rème brûlée"]
    assert len({TEXTS.identities(text.encode()) for text in same}) == 1
    assert TEXTS.identities(b"creme brulee") != TEXTS.identities(same[0].encode())


def test_a_tag_is_shown_as_text_and_nothing_can_turn_the_direction_of_what_follows() -> None:
    for hostile in ("<script>alert(1)</script>", "a\u202eb", "\x1b[31mred", "مرحبا", "a\nb\r\tc", "z" + "\u0301" * 500):
        shown = TEXTS.preview_payload(hostile.encode(), side=40)
        assert shown == TEXTS.preview((rows_of([hostile], 1024)[0].numpy(),), side=40)
        assert not set("\n\r\t\x1b\u202e") & set(shown.text) and len(shown.text) < 250
        assert shown.html.count("<") == 2 and shown.html.startswith('<span class="text" dir="auto">')
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in TEXTS.preview_payload(b"<script>alert(1)</script>", side=40).html


def test_the_share_of_texts_that_are_cut_off_is_shown_and_warned_of() -> None:
    profiler = TEXTS.profiler()
    for size in (16, 17, 64, 65, 10_000, 1_000_000):
        profiler.add("train", TEXTS.inspect(b"a" * size, fingerprint=False).measures)
    content = profiler.profile()
    assert content["text_bytes"] == 1_010_162
    for length, share in ((16, 5 / 6), (32, 4 / 6), (64, 3 / 6), (80, 2 / 6), (8192, 2 / 6)):
        modality = Texts(length=length)
        assert modality.facts(content)["texts that are cut off"] == f"{share:.2%}, those of more than {length:,} bytes"
        assert modality.warnings(content)[0].startswith(f"{share:.0%} of the texts have more than {length:,} bytes")
    assert TEXTS.warnings({"text_bytes": 9, "text_lengths": {"256": 96, "272": 4}}) == []


def test_options_of_the_vocabulary_make_another_cache_of_the_same_snapshot() -> None:
    other = Texts(buckets=0)
    assert other.digest_part == TEXTS.digest_part == b"modality text\n" and other.hidden == {}
    assert TEXTS.variant == "" and other.variant not in ("", Texts(vocabulary=9).variant)


def test_a_file_with_one_text_is_what_a_person_searches_by() -> None:
    assert TEXTS.payload_of(b"\xef\xbb\xbf hello world\n") == b"hello world"


def test_encoders_of_numbers_and_policies_that_mix_are_refused_before_the_training() -> None:
    processor = fitted_to(["a text"])
    for encoder in (MLP(), ResNetSmall()):
        with pytest.raises(SpecError, match=r"^training.encoder: .* takes numbers, but the views hold ids of words"):
            encoder.build_for(processor)
    modality = DataSpec(name="a", source="texts", modality="text").built_modality
    for views, does in (("dacl_mixup", "mixes samples, which are numbers"), ("scarf", "makes views of vector")):
        with pytest.raises(SpecError, match=rf"^training.views: '{views}' {does}, and .*: dropout_twice, word_noise$"):
            check_views(assemble(TrainingSpec(views=views, encoder="bag")), modality)
    images = DataSpec(name="a", source="synthetic").built_modality
    with pytest.raises(SpecError, match=r"^training.encoder: Bag takes texts, but the views are numbers"):
        check_views(assemble(TrainingSpec(encoder="bag")), images)


def test_views_that_dropout_alone_tells_apart_are_refused_without_dropout() -> None:
    modality = DataSpec(name="a", source="texts", modality="text").built_modality
    for encoder in ("bag", "gru", "transformer"):
        training = TrainingSpec(views="dropout_twice", encoder=encoder, encoder_options={"dropout": 0})
        with pytest.raises(SpecError, match=r"^training.encoder_options.dropout: 0 makes all views of 'dropout_twice'"):
            check_views(assemble(training), modality)


def test_a_champions_vocabulary_is_carried_to_texts_of_another_length() -> None:
    champion, fitted = fitted_to(["a cat"]).state_dict(), fitted_to(["a dog"], length=32).state_dict()
    carried = Texts(length=32).continued_processor((ArraySpec("uint8", (32,)),), champion, fitted)
    assert carried.vocabulary.equal(champion["vocabulary"]) and carried.layout.length == 32
    ids = carried.layout.word_ids(carried((rows_of(["dog cat"], 32),)))[0, :2]
    assert ids[0] == 1 and ids[1] > 1


def test_padding_wider_changes_no_word_and_no_embedding() -> None:
    from cl_core.encoders.bag import Bag

    texts = ["the cat sat", "世界", "!"]
    narrow, wide = fitted_to(texts), fitted_to(texts, length=2 * LENGTH)
    views = [processor((rows_of(texts, processor.layout.length),)) for processor in (narrow, wide)]
    torch.manual_seed(0)
    encoders = [Bag(features=8).build_for(processor).eval() for processor in (narrow, wide)]
    encoders[1].load_state_dict(encoders[0].state_dict())
    torch.testing.assert_close(encoders[0](views[0]), encoders[1](views[1]), rtol=0, atol=1e-6)


def test_a_view_is_the_same_texts_again() -> None:
    processor = fitted_to(["the cat sat on 世界"])
    rows = (rows_of(["the cat", "世界 sat", "", "x" * 64]),)
    assert processor.restored(processor(rows))[0].equal(rows[0])
    stacked = rows[0].reshape(2, 2, LENGTH)
    assert processor.values((stacked,)).reshape(4, -1).equal(processor(rows))
    pool = SamplePool(split_of_texts(["one", "two"]).columns)
    assert len(pool) == 2


def test_the_share_of_unknown_words_is_said_and_a_large_one_warned_of() -> None:
    state = fitted_to(["a cat", "a dog", "a bird", "a cat"], least_texts=2).state_dict()
    facts, warnings = TEXTS.fitted_notes(state)
    assert facts == ["the vocabulary has 2 words; 25.00% of the words of the training texts are not in it"]
    assert warnings[0].startswith("25% of the words of the training texts are not in the vocabulary; raise data.")
    assert TEXTS.fitted_notes(fitted_to(["a cat"]).state_dict())[1] == []
    assert "the vocabulary has 0 words; 100.00%" in TEXTS.fitted_notes(fitted_to(["!"]).state_dict())[0][0]


PAIRS = TextPairs(length=16)


def test_a_pair_is_rejected_with_the_name_of_the_text_that_is_none() -> None:
    for payload, sentence in (
        (joined((b"", b"a")), "first text: it has no character that can be seen"),
        (joined((b"a", b"caf\xe9")), "second text: it is not UTF-8: byte 3"),
        (b"a", "its 1 bytes do not hold 2 parts"),
    ):
        with pytest.raises(Rejected) as caught:
            PAIRS.inspect(payload, fingerprint=False)
        assert caught.value.detail.startswith(sentence)


def test_pairs_with_the_same_second_text_are_the_same_thing() -> None:
    alike = [joined((first, second)) for first, second in ((b"a", b"The end"), (b"b", b"the  END"))]
    assert len({PAIRS.identities(payload) for payload in alike}) == 1
    other = joined((b"a", b"the start"))
    assert PAIRS.identities(other) != PAIRS.identities(alike[0]) and len(PAIRS.identities(other)) == 1


def test_both_texts_of_a_pair_are_shown_and_counted() -> None:
    payload = joined((b"<b>one", b"two"))
    shown = PAIRS.preview_payload(payload, side=9)
    assert shown == PAIRS.preview((rows_of(["<b>one"])[0].numpy(), rows_of(["two"])[0].numpy()), side=9)
    assert shown.text == "<b>one | two" and "&lt;b&gt;one</span><br><span" in shown.html
    profiler = PAIRS.profiler()
    profiler.add("train", PAIRS.inspect(joined((b"a" * 20, b"a" * 3)), fingerprint=False).measures)
    content = profiler.profile()
    assert content == {"text_bytes": 23, "text_lengths": {"16": 1, "32": 1}}
    assert PAIRS.facts(content)["texts that are cut off"].startswith("50.00%")


def test_a_model_of_pairs_takes_one_text_and_its_vocabulary_is_that_of_both_sides() -> None:
    assert (
        PAIRS.served() == PAIRS.served(1) == Texts(length=16)
        and PAIRS.side((1, 2)) == (1,)
        and PAIRS.side((1, 2), 1) == (2,)
    )
    assert TEXTS.served() is TEXTS and TEXTS.side((1,)) == (1,)
    columns = {
        name: split_of_texts(texts, 16).column
        for name, texts in {"first": ["cat cat", "dog"], "second": ["cat", "bird"]}.items()
    }
    split = Split(Columns(columns), np.zeros((2, 32), np.uint8), np.arange(2, dtype=np.uint64), None)
    processor = TextPairs(length=16, least_texts=2, buckets=0).fit_processor(split, {})
    assert len(processor.vocabulary) == 1, "cat alone is in two texts"
    assert processor.arrays == ARRAYS and float(processor.unknown_share) == pytest.approx(2 / 5)
