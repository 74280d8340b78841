"""WordNet's files, as wndb(5WN) describes them; the lines are those of WordNet 3.0, shortened in their pointers."""

from pathlib import Path

import pytest

from cl_core.data.sources import wordnet
from cl_core.data.sources._wordnet_files import read_synsets
from cl_core.data.sources.wordnet import DEBIAN_FOLDER, DEBIAN_PACKAGE, WordNet, is_held_out
from cl_core.errors import DataError, SpecError
from cl_core.modalities import parts_of

FILES = {
    "noun": (
        "00001930 03 n 01 physical_entity 0 001 @ 00001740 n 0000 | an entity that has physical existence  \n"
        "02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 000 | a member of the genus Canis (probably "
        "descended from the common wolf) that has been domesticated by man since prehistoric times; occurs in many "
        'breeds; "the dog barked all night"  \n'
    ),
    "verb": (
        '00001740 29 v 02 breathe 0 take_a_breath 0 000 02 + 02 00 + 08 00 | draw air into; "Breathe!"; "He sighs"\n'
    ),
    "adj": '00014490 00 s 01 afloat(p) 0 000 | borne on the water; "a ship afloat"  \n',
    "adv": "00001740 02 r 01 a_cappella 0 000 | without musical accompaniment; \n",
}
LICENSE = "  1 This software and database is being provided to you, the LICENSEE, by  \n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, lines in FILES.items():
        (tmp_path / f"data.{part}").write_text(LICENSE + lines, encoding="utf-8")
    return tmp_path


def test_a_synset_has_its_words_gloss_and_examples(folder: Path) -> None:
    entity, dog, breathe, afloat, a_cappella = read_synsets(folder)
    assert entity.examples == () and entity.gloss == "an entity that has physical existence"
    assert dog.origin == "data.noun#02084071" and dog.category == "noun.animal"
    assert dog.lemmas == ("dog", "domestic dog", "Canis familiaris")
    assert dog.gloss.endswith("prehistoric times; occurs in many breeds")
    assert dog.examples == ("the dog barked all night",)
    assert breathe.category == "verb.body" and breathe.examples == ("Breathe!", "He sighs")
    assert afloat.lemmas == ("afloat",) and afloat.category == "adj.all"
    assert a_cappella.gloss == "without musical accompaniment"


def test_glosses_are_texts_of_their_lexicographers_file(folder: Path) -> None:
    samples = list(WordNet().samples(str(folder)))
    assert [sample.label for sample in samples] == ["noun.Tops", "noun.animal", "verb.body", "adj.all", "adv.all"]
    assert samples[2].payload == b"draw air into" and samples[2].origin == "data.verb#00001740"
    assert [sample.split for sample in samples] == [
        "test" if is_held_out(one) else "train" for one in read_synsets(folder)
    ]


def pairs(source: WordNet, folder: Path) -> list[tuple[str, str, str]]:
    samples = source.delivering("text_pair").samples(str(folder))
    return [(*(part.decode() for part in parts_of(one.payload, 2)), one.split) for one in samples]


@pytest.fixture
def held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verb is the test split."""
    monkeypatch.setattr(wordnet, "is_held_out", lambda synset: synset.origin.startswith("data.verb"))


def test_pairs_are_an_example_or_a_word_and_the_gloss(folder: Path, held_out: None) -> None:
    found = pairs(WordNet(), folder)
    assert found[0] == ("physical entity", "an entity that has physical existence", "train")
    assert [first for first, _, split in found if split == "test"] == ["Breathe!"], "one example, and no word"
    of_dog = [first for first, second, _ in found if "genus Canis" in second]
    assert of_dog == ["the dog barked all night", "dog", "domestic dog", "Canis familiaris"]
    assert [first for first, _, _ in pairs(WordNet(words=False), folder)] == [
        "the dog barked all night",
        "Breathe!",
        "a ship afloat",
    ]


def test_an_option_of_pairs_is_refused_for_glosses_alone() -> None:
    with pytest.raises(
        SpecError, match=r"source_options.words: False is read of text_pair only, and data.modality is text; set it"
    ):
        WordNet(words=False).delivering("text")


def test_no_text_of_a_held_out_synset_is_trained_on(folder: Path, held_out: None) -> None:
    """Neither its words, nor its gloss, nor any of its examples, whatever letter case they have elsewhere."""
    with (folder / "data.noun").open("a") as file:
        file.write(
            "00000001 03 n 01 Breathe 0 000 | an odd word  \n"  # A word of the test synset.
            "00000002 03 n 01 puff 0 000 | Draw  air into  \n"  # Its gloss.
            '00000003 03 n 01 sigh 0 000 | a sound; "he sighs"  \n'  # An example of it that is no pair.
            "00000004 03 n 01 air 0 000 | what we breathe  \n"
        )
    trained = [one for one in pairs(WordNet(), folder) if one[2] == "train"]
    assert [one for one in trained if {"an odd word", "Draw  air into", "he sighs", "puff"} & set(one)] == []
    assert ("sigh", "a sound", "train") in trained and ("air", "what we breathe", "train") in trained


def test_a_folder_without_all_files_is_refused_with_the_package(tmp_path: Path) -> None:
    (tmp_path / "data.noun").touch()
    with pytest.raises(DataError, match=rf"has no data\.verb, data\.adj, data\.adv; install .*{DEBIAN_PACKAGE}"):
        WordNet().fingerprint(str(tmp_path))


@pytest.mark.parametrize(
    "line", ["dog\n", "1 99 n 01 dog 0 000 | a pet\n", "1 05 n 00 000 | a pet\n", "1 05 n 0x dog | a\n"]
)
def test_a_line_that_is_not_a_synset_is_named(folder: Path, line: str) -> None:
    (folder / "data.verb").write_text(LICENSE + line)
    with pytest.raises(DataError, match=r"line 2 of .*data\.verb is not a synset"):
        list(WordNet().samples(str(folder)))


def test_a_file_in_another_encoding_is_named(folder: Path) -> None:
    (folder / "data.adv").write_bytes(FILES["adv"].encode() + "caf\xe9".encode("latin-1"))
    with pytest.raises(DataError, match=r"data\.adv cannot be read"):
        list(WordNet().samples(str(folder)))


@pytest.mark.integration
@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason=f"needs Debian's {DEBIAN_PACKAGE}")
def test_the_package_has_what_wordnet_counts() -> None:
    """wnstats(7WN): 117,659 synsets in 45 files; other counts by an independent pass with `grep`."""
    synsets = list(read_synsets(DEBIAN_FOLDER))
    assert len(synsets) == 117_659
    assert len({synset.category for synset in synsets}) == 45
    assert sum(bool(synset.examples) for synset in synsets) == 32_923
    assert sum(len(synset.examples) for synset in synsets) == 48_339
    held_out = sum(map(is_held_out, synsets))
    assert abs(held_out - 0.08 * len(synsets)) < 3 * (0.08 * 0.92 * len(synsets)) ** 0.5
