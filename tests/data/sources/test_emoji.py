"""Emoji from packages of npm, which are made here: which are read, in which split, and what npm may bring instead."""

import hashlib
import io
import json
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from cl_core.data import download
from cl_core.data.sources import RawSample, built_source, emoji
from cl_core.errors import DataError
from cl_core.modalities._payloads import parts_of
from cl_core.specs import SourceSpec

GOOGLE, TWITTER, WORDS = emoji.PACKAGES
LISTED = [
    {
        "name": "NERD FACE",
        "unified": "1F913",
        "image": "1f913.png",
        "category": "Smileys",
        "subcategory": "face-glasses",
    },
    {"name": "KEYCAP", "unified": "0023-FE0F-20E3", "image": "23.png", "category": "Symbols", "subcategory": "keycap"},
    {"name": "Egypt Flag", "unified": "1F1EA-1F1EC", "image": "eg.png", "category": "Flags", "subcategory": "country"},
    {"name": "SKIN", "unified": "1F3FB", "image": "1f3fb.png", "category": "Component", "subcategory": "skin-tone"},
]
DESCRIBED = [
    {"hexcode": "1F913", "label": "nerd face", "tags": ["geek", "glasses"]},
    {"hexcode": "0023-20E3", "label": "keycap: #", "tags": ["keycap"]},
]


def packed(path: Path, files: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "packages"
    for name, style in ((GOOGLE, "google"), (TWITTER, "twitter")):
        images = {f"package/img/{style}/64/{one['image']}": f"{style} {one['unified']}".encode() for one in LISTED}
        others = {"package/img/google/sheets/1f913.png": b"", "package/emoji.json": json.dumps(LISTED).encode()}
        packed(folder / name, {**images, **others})
    packed(folder / WORDS, {"package/en/data.json.d.ts": b"", "package/en/data.json": json.dumps(DESCRIBED).encode()})
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in emoji.PACKAGES}
    monkeypatch.setattr(emoji, "PACKAGES", digests)
    return folder


def source(modality: str = "image_text", **options: object) -> emoji.Emoji:
    built = built_source(SourceSpec(source="emoji", source_options=options), modality)
    assert isinstance(built, emoji.Emoji)
    return built


def test_each_emoji_has_its_names_and_keywords_and_the_split_of_its_code(packages: Path) -> None:
    samples = [one for one in source().samples(str(packages)) if isinstance(one, RawSample)]
    assert [parts_of(one.payload, 2) for one in samples] == [
        (b"google 1F913", b"nerd face, geek, glasses"),
        (b"google 0023-FE0F-20E3", b"keycap, keycap: #"),
    ]
    assert [one.label for one in samples] == ["face-glasses", "keycap"]
    # A hundredth by the first eight bytes of the code's sha256: 88 and 8.
    assert [int(hashlib.sha256(code).hexdigest()[:16], 16) % 100 < 15 for code in (b"1F913", b"0023-FE0F-20E3")] == [
        one.split == "test" for one in samples
    ]
    drawn = [one for one in source(style="twitter").samples(str(packages)) if isinstance(one, RawSample)]
    assert [one.split for one in drawn] == [one.split for one in samples]
    assert parts_of(drawn[0].payload, 2)[0] == b"twitter 1F913"
    alone = [one.payload for one in source("image").samples(str(packages)) if isinstance(one, RawSample)]
    assert alone == [b"google 1F913", b"google 0023-FE0F-20E3"]
    assert source().fingerprint(str(packages)) != source(style="twitter").fingerprint(str(packages))


def test_another_package_and_a_missing_one_are_refused(packages: Path) -> None:
    (packages / WORDS).write_bytes(b"other")
    with pytest.raises(DataError, match=r"emojibase-data-17\.0\.0\.tgz is another file: .*`npm pack emojibase-data@17"):
        source().fingerprint(str(packages))
    (packages / WORDS).unlink()
    with pytest.raises(DataError, match=r"has no emojibase-data-17\.0\.0\.tgz; fetch them there with `npm pack emoji-"):
        source().fingerprint(str(packages))
    with pytest.raises(DataError, match=r"download_folder is empty, and so is data.location; give one"):
        source(download_folder="").fingerprint("")


# --- npm


def program(folder: Path, script: str) -> None:
    path = folder / "npm"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_what_is_missing_is_fetched_once_by_npm(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, binaries = tmp_path / "fetched", tmp_path / "bin"
    binaries.mkdir()
    # As npm: pack --silent --pack-destination=FOLDER NAME@VERSION.
    copy = f'cp "{packages}/$(echo "$4" | tr @ -).tgz" "${{3#*=}}/"; echo "$4" >> "{tmp_path}/asked"'
    program(binaries, copy)
    monkeypatch.setenv("PATH", f"{binaries}:/bin:/usr/bin")
    one = source(download_folder=str(home))
    assert len(list(one.samples(""))) == 2 and len(list(one.samples(""))) == 2
    assert (tmp_path / "asked").read_text().split() == ["emoji-datasource-google@16.0.0", "emojibase-data@17.0.0"]
    assert sorted(path.name for path in home.iterdir()) == [GOOGLE, WORDS]


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "echo 'npm error network is down' >&2; false",
            r"npm cannot fetch a@1 \(npm error network is down\); try again",
        ),
        ("exit 7", r"npm cannot fetch a@1 \(exit code 7\)"),
        ('echo other > "${3#*=}/a-1.tgz"', r"npm brings another file as a@1: sha256 .*, expected 0000"),
        ("exit 0", "npm brings another file as a@1: it has another name"),
    ],
)
def test_what_npm_does_wrong_is_said_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, sentence: str
) -> None:
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    with pytest.raises(DataError, match=sentence):
        download.npm_pack("a@1", tmp_path / "into" / "a-1.tgz", sha256="0" * 64)
    assert not list(tmp_path.glob("into/*"))


def test_without_npm_a_person_learns_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"npm, which fetches it, is not installed; install npm, or run `npm pack a@1`"):
        download.npm_pack("a@1", tmp_path / "a-1.tgz", sha256="0" * 64)
