"""Paths that come in as parameters lead nowhere but into the folders of CL_DATA_ROOTS, and CL_HOME."""

from pathlib import Path

import pytest

from cl_core.data.ingest.pipeline import ingest_source
from cl_core.data.path_roots import allowed_roots, confined
from cl_core.data.sources import RawSample, Unreadable
from cl_core.data.sources.fashion_mnist import FashionMNIST
from cl_core.data.sources.image_folder import ImageFolder
from cl_core.data.sources.parquet import ParquetFiles
from cl_core.errors import InputError
from cl_core.specs import DataSpec


@pytest.fixture
def places(tmp_path, monkeypatch) -> Path:
    """A folder with `allowed`, `home` and `secret`; the first two may be used."""
    for name in ("allowed", "home", "secret", "allowed-too"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("CL_DATA_ROOTS", f"{tmp_path / 'allowed'}:{tmp_path / 'none-yet'}")
    monkeypatch.setenv("CL_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize("inside", ["allowed", "allowed/new/file", "home/datasets", "none-yet/x", "secret/../allowed"])
def test_a_path_inside_may_be_used(places, inside):
    assert confined(places / inside, field="data.location") == (places / inside).resolve()


@pytest.mark.parametrize("outside", ["secret", "allowed/../secret", "allowed-too", ".", "allowed/link/x"])
def test_a_path_that_leads_out_is_refused_with_the_setting_named(places, outside):
    (places / "allowed" / "link").symlink_to(places / "secret")
    with pytest.raises(
        InputError, match=r"data.location: .* is outside the allowed folders.*the setting CL_DATA_ROOTS"
    ):
        confined(places / outside, field="data.location")


def test_a_root_that_is_itself_a_link_is_where_it_leads(places, monkeypatch):
    (places / "linked").symlink_to(places / "secret")
    monkeypatch.setenv("CL_DATA_ROOTS", str(places / "linked"))
    assert confined(places / "secret" / "x", field="f") == places / "secret" / "x"


def test_without_the_setting_every_path_is_as_it_was_given(places, monkeypatch):
    monkeypatch.delenv("CL_DATA_ROOTS")
    (places / "link").symlink_to(places / "secret")
    assert confined(places / "link", field="f") == places / "link"


def test_an_empty_cl_home_is_an_unset_one(places, monkeypatch):
    """And never the working folder, which would be allowed then."""
    monkeypatch.chdir(places)
    monkeypatch.setenv("CL_HOME", "")
    assert places / ".counterpoint" in allowed_roots() and places not in allowed_roots()


def test_a_relative_root_is_refused(places, monkeypatch):
    monkeypatch.setenv("CL_DATA_ROOTS", "data:/srv")
    with pytest.raises(InputError, match=r"CL_DATA_ROOTS must name absolute folders.*got data in it"):
        confined("/srv/x", field="f")


@pytest.mark.parametrize("source", ["image_folder", "parquet", "fashion_mnist", "synthetic"])
def test_ingestion_refuses_a_location_outside_whatever_the_source(places, source):
    (places / "secret" / "a.png").write_bytes(b"secret")
    spec = DataSpec(name="stolen", source=source, location=str(places / "secret"))
    with pytest.raises(InputError, match=r"data.location: .*CL_DATA_ROOTS"):
        ingest_source(spec, datasets=places / "home" / "datasets")


@pytest.mark.parametrize("source", [ImageFolder(), ParquetFiles(), FashionMNIST()])
@pytest.mark.parametrize("ask", ["fingerprint", "samples"])
def test_a_source_that_is_asked_by_itself_refuses_as_well(places, source, ask):
    with pytest.raises(InputError, match="CL_DATA_ROOTS"):
        list(getattr(source, ask)(str(places / "secret")))


def test_a_download_folder_outside_is_refused(places, monkeypatch):
    monkeypatch.setattr("cl_core.data.sources.fashion_mnist.DEBIAN_FOLDER", places / "none")
    with pytest.raises(InputError, match=r"data.source_options.download_folder: .*CL_DATA_ROOTS"):
        FashionMNIST(download_folder=str(places / "secret")).fingerprint("")
    assert list((places / "secret").iterdir()) == []


def test_links_that_lead_out_of_an_image_folder_are_put_aside_and_not_followed(places, picture):
    pets = places / "allowed" / "pets" / "cat"
    pets.mkdir(parents=True)
    (pets / "a.png").write_bytes(picture(0))
    (places / "secret" / "passwords.png").write_bytes(picture(1))
    (places / "allowed" / "elsewhere").mkdir()
    (places / "allowed" / "elsewhere" / "c.png").write_bytes(picture(2))
    (pets / "b.png").symlink_to(places / "secret" / "passwords.png")
    (pets / "folder").symlink_to(places / "secret")
    (pets / "notes.txt").symlink_to(places / "secret")
    (pets / "inside").symlink_to(places / "allowed" / "elsewhere")
    found = list(ImageFolder().samples(str(pets.parent)))
    assert {sample.origin for sample in found if isinstance(sample, RawSample)} == {"cat/a.png", "cat/inside/c.png"}
    aside = {sample.origin: sample.detail for sample in found if isinstance(sample, Unreadable)}
    assert aside.keys() == {"cat/b.png", "cat/folder", "cat/notes.txt"}
    assert set(aside.values()) == {"a link out of the folders of CL_DATA_ROOTS; it is not followed"}


def test_links_are_followed_again_once_the_setting_allows_it_and_the_fingerprint_changes(places, picture, monkeypatch):
    pets = places / "allowed" / "pets"
    pets.mkdir()
    (places / "secret" / "b.png").write_bytes(picture(1))
    (pets / "folder").symlink_to(places / "secret")
    before = ImageFolder().fingerprint(str(pets))
    monkeypatch.setenv("CL_DATA_ROOTS", str(places))
    assert ImageFolder().fingerprint(str(pets)) != before
    assert [sample.origin for sample in ImageFolder().samples(str(pets))] == ["folder/b.png"]


def test_a_parquet_file_that_is_a_link_out_is_refused(places, sample):
    (places / "allowed" / "a.parquet").symlink_to(sample)
    with pytest.raises(InputError, match=r"a.parquet \(by a link or '..', .*CL_DATA_ROOTS"):
        ParquetFiles().fingerprint(str(places / "allowed"))
