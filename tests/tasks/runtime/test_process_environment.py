"""What surrounds a process does not decide where its runs go: proxies, and files of other projects."""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prefect.settings.models.api import APISettings
from pydantic import TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, SettingsConfigDict
from pydantic_settings.sources import ConfigFileSourceMixin

from cl_core.errors import InputError
from tasks.runtime.process_environment import (
    embed_prefect,
    inherited,
    keep_loopback_direct,
    keep_prefect_from_files,
    refused_setting,
    unset_empty,
)
from tasks.runtime.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "localhost,127.0.0.1,::1"),
        ("", "localhost,127.0.0.1,::1"),
        ("example.org,127.0.0.1", "example.org,127.0.0.1,localhost,::1"),
        ("*", "*"),
    ],
)
def test_requests_to_this_machine_go_through_no_proxy(monkeypatch, before, after):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        if before is not None:
            monkeypatch.setenv(name, before)
    keep_loopback_direct()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == after
    assert urllib.request.proxy_bypass_environment("127.0.0.1:4200")
    assert bool(urllib.request.proxy_bypass_environment("elsewhere.org")) == (after == "*")


PROGRAM = """
import sys
from tasks.runtime.process_environment import keep_prefect_from_files, use_prefect_of
from pathlib import Path
if "theirs" not in sys.argv:
    keep_prefect_from_files()
    use_prefect_of(Path("home").absolute())
from prefect.settings import get_current_settings, temporary_settings
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES
with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}) as changed:
    print(*{get_current_settings().api.url, changed.api.url, get_current_settings().api.auth_string})
"""
URL = "PREFECT_API_URL=http://10.0.0.5:4200/api\n"
FILES = {
    ".env": (URL + "PREFECT_API_AUTH_STRING=anna:hunter2\nPREFECT_PROFILES_PATH=theirs.toml\n# caf\xe9\n", "latin-1"),
    "prefect.toml": ('[api]\nurl = "http://10.0.0.5:4200/api"\n', "utf-8"),
    "pyproject.toml": ('[tool]\nprefect = "x"\n', "utf-8"),
    "theirs.toml": (f'active = "theirs"\n[profiles.theirs]\nPREFECT_API_URL = "{URL[16:-1]}"\n', "utf-8"),
}


def prefect_in(folder, *arguments, **variables):
    """What Prefect takes for its settings in a program that is started in a folder with another project's files."""
    for name, (text, encoding) in FILES.items():
        (folder / name).write_text(text, encoding=encoding)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow_unit(reason="two programs that import Prefect")
def test_prefect_takes_no_setting_from_the_working_folder_and_without_this_it_would(tmp_path):
    (tmp_path / "home" / "prefect").mkdir(parents=True)
    ours = prefect_in(
        tmp_path,
        PREFECT_PROFILE="theirs",
        PREFECT_PROFILES_PATH=str(tmp_path / "theirs.toml"),
        PREFECT_HOME=str(tmp_path / "theirs"),
    )
    assert (ours.returncode, ours.stdout, ours.stderr) == (0, "None\n", "")
    theirs = prefect_in(tmp_path, "theirs")
    assert theirs.returncode != 0 and "UnicodeDecodeError" in theirs.stderr, "the workaround is still needed"


def test_other_programs_settings_still_come_from_files(tmp_path, monkeypatch):
    sources = (DotEnvSettingsSource, "_read_env_files"), (ConfigFileSourceMixin, "_read_files")
    for source, name in sources:
        monkeypatch.setattr(source, name, getattr(source, name))
    for _ in range(2):
        keep_prefect_from_files()

    class TheirSettings(BaseSettings):
        model_config = SettingsConfigDict(env_file=tmp_path / ".env")
        color: str = ""

    (tmp_path / ".env").write_text("COLOR=red\n")
    assert TheirSettings().color == "red"


def test_empty_variables_of_the_project_and_its_servers_are_unset(monkeypatch):
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "CL_NOTIFY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PREFECT_HOME", " ")
    monkeypatch.setenv("CL_HOME", "kept")
    monkeypatch.setenv("LC_ALL", "")
    unset_empty()
    left = {name for name in os.environ if name.startswith(("PREFECT_", "MLFLOW_", "RAY_", "CL_"))}
    assert not {name for name in left if not os.environ[name].strip()}
    assert os.environ["CL_HOME"] == "kept" and os.environ["LC_ALL"] == ""


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """An environment of which nothing is left after the test."""
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path), "CL_HOME": str(tmp_path / "home")})
    return os.environ


def test_without_an_address_prefect_is_the_one_of_this_home(environment, tmp_path):
    environment |= {
        "PREFECT_HOME": "/theirs",
        "PREFECT_PROFILE": "theirs",
        "PREFECT_PROFILES_PATH": "/theirs/profiles.toml",
    }
    embed_prefect(Settings(home=tmp_path / "home"), "http://127.0.0.1:9/api")
    prefect = {name: value for name, value in environment.items() if "HOME" in name or "PROFILE" in name}
    assert prefect == {
        "HOME": str(tmp_path),
        "CL_HOME": str(tmp_path / "home"),
        "PREFECT_HOME": str(tmp_path / "home" / "prefect"),
        "PREFECT_PROFILES_PATH": str(tmp_path / "home" / "prefect" / "profiles.toml"),
    }
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:9/api"
    assert Settings.from_environment().prefect_api_url == "", "the temporary server counts as none"
    environment["PREFECT_API_URL"] = "http://127.0.0.1:4200/api"
    assert Settings.from_environment().prefect_api_url == "http://127.0.0.1:4200/api"


@pytest.mark.parametrize("content", ["active = caf\xe9", "no TOML"])
def test_profiles_that_cannot_be_read_are_refused_with_their_file(environment, tmp_path, content):
    with_address = Settings(home=tmp_path / "home", prefect_api_url="http://127.0.0.1:4200/api")
    environment["PREFECT_HOME"] = str(tmp_path)
    embed_prefect(with_address, "unused")
    assert environment["PREFECT_PROFILES_PATH"] == str(tmp_path / "profiles.toml")
    (tmp_path / "profiles.toml").write_text(content, encoding="latin-1")
    with pytest.raises(
        InputError, match=r"PREFECT_PROFILES_PATH: Prefect cannot read its profiles in \S+profiles.toml"
    ):
        embed_prefect(with_address, "unused")


def test_no_server_or_worker_inherits_the_registry_of_another_project(monkeypatch):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://10.0.0.5:5000")
    monkeypatch.setenv("MLFLOW_REGISTRY_STORE_URI", "sqlite:////theirs.db")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
    child = inherited("CL_DATABASE_URL")
    assert child["MLFLOW_TRACKING_USERNAME"] == "anna"
    assert not {"MLFLOW_REGISTRY_URI", "MLFLOW_REGISTRY_STORE_URI"} & set(child)


def test_a_variable_that_prefect_refuses_is_named_with_its_value(monkeypatch):
    monkeypatch.setenv("PREFECT_API_REQUEST_TIMEOUT", "soon")
    with pytest.raises(ValidationError) as refused:
        APISettings()
    sentence = str(refused_setting(refused.value))
    assert sentence.startswith("PREFECT_API_REQUEST_TIMEOUT: input should be a valid number")
    assert sentence.endswith("; got 'soon'; correct or unset it")
    with pytest.raises(ValidationError) as other:
        TypeAdapter(int).validate_python("soon")
    assert refused_setting(other.value) is None
