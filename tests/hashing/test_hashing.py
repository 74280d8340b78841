"""Digests: known answers, one text per value, and code that counts."""

import hashlib
import importlib
import json
import math
import shutil
import sys
from pathlib import Path

import pytest

from cl_core.hashing import CHUNK_BYTES, canonical_json, digest_of, file_sha256, source_digest
from cl_core.specs import PromotionSpec


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, "x"]}, '{"a":[true,null,"x"],"b":1}'),
        ({"z": {"y": 0.1, "x": 1e-7}}, '{"z":{"x":1e-07,"y":0.1}}'),
        ((1, 2), "[1,2]"),
        ("é\n", '"\\u00e9\\n"'),
        (
            PromotionSpec(),
            '{"automatic":true,"score":"linear_probe.accuracy","tolerance":0.0}',
        ),
        ([PromotionSpec(tolerance=1)], '[{"automatic":true,"score":"linear_probe.accuracy","tolerance":1.0}]'),
    ],
)
def test_a_value_has_one_text(value, text):
    assert canonical_json(value) == text
    assert digest_of(value) == hashlib.sha256(text.encode()).hexdigest()


def test_the_order_of_keys_does_not_matter_and_that_of_items_does():
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_have_no_digest(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of({"deep": [value]})


@pytest.mark.parametrize("value", [Path("x"), {1, 2}, b"bytes", object()])
def test_what_has_no_json_form_is_refused_by_its_type(value):
    with pytest.raises(TypeError, match=rf"^{type(value).__name__} has no JSON form"):
        digest_of({"deep": [value]})


def test_the_digests_of_files_are_those_of_the_standard(tmp_path):
    """FIPS 180-2, appendix B: the empty text, "abc", and a million times "a"."""
    answers = {
        b"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        b"a" * 1_000_000: "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    }
    for content, answer in answers.items():
        (tmp_path / "file").write_bytes(content)
        assert file_sha256(tmp_path / "file") == answer


def test_a_file_longer_than_a_chunk_is_read_to_its_end(tmp_path):
    content = bytes(range(256)) * (CHUNK_BYTES // 128) + b"end"
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of three files that can be imported."""
    folder = tmp_path / "first" / "counted_package"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text("x = 1\n")
    (folder / "inner" / "two.py").write_text("y = 2\n")
    monkeypatch.syspath_prepend(folder.parent)
    yield folder
    sys.modules.pop("counted_package", None)
    source_digest.cache_clear()


def digest_now(*names):
    source_digest.cache_clear()
    importlib.invalidate_caches()
    return source_digest(*names)


@pytest.mark.parametrize("file", ["__init__.py", "one.py", "inner/two.py", "new.py", "inner/new.py"])
def test_a_line_changed_in_any_file_of_a_package_changes_its_digest(package, file):
    before = digest_now("counted_package")
    path = package / file
    text = path.read_text() if path.exists() else None
    path.write_text((text or "") + "# a line more\n")
    assert digest_now("counted_package") != before
    path.unlink() if text is None else path.write_text(text)
    assert digest_now("counted_package") == before


def test_a_renamed_file_changes_the_digest_and_a_file_of_another_kind_does_not(package):
    before = digest_now("counted_package")
    (package / "notes.txt").write_text("not code")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "one.pyc").write_bytes(b"not code either")
    assert digest_now("counted_package") == before
    (package / "one.py").rename(package / "uno.py")
    assert digest_now("counted_package") != before


def test_a_module_counts_alone(package):
    before = digest_now("counted_package.one")
    (package / "inner" / "two.py").write_text("y = 3\n")
    assert digest_now("counted_package.one") == before
    (package / "one.py").write_text("x = 2\n")
    assert digest_now("counted_package.one") != before


def test_the_place_of_installation_does_not_count(package, tmp_path, monkeypatch):
    before = digest_now("counted_package", "counted_package.one")
    shutil.copytree(package, tmp_path / "second" / "counted_package")
    shutil.rmtree(package)
    monkeypatch.syspath_prepend(tmp_path / "second")
    del sys.modules["counted_package"]
    assert digest_now("counted_package", "counted_package.one") == before


def test_the_digest_of_a_module_is_that_of_its_name_and_its_bytes(package):
    listed = [["counted_package.one/one.py", hashlib.sha256(b"x = 1\n").hexdigest()]]
    text = json.dumps(listed, separators=(",", ":"))
    assert digest_now("counted_package.one") == hashlib.sha256(text.encode()).hexdigest()
