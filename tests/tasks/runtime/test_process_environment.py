"""What surrounds a process does not decide where its runs go: proxies, and files of other projects."""

import os
import urllib.request

import pytest

from cl_core.errors import InputError
from tasks.runtime.process_environment import inherited, keep_loopback_direct, refuse_prefect_files


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


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        (".env", "A=b\nPREFECT_API_URL=http://10.0.0.5:4200/api\n", "PREFECT_API_URL"),
        (".env", "export PREFECT_API_DATABASE_CONNECTION_URL='sqlite+aiosqlite:////x.db'\n", "PREFECT_SERVER_DATABASE"),
        ("prefect.toml", '[api]\nurl = "http://10.0.0.5:4200/api"\n', "PREFECT_API_URL"),
        ("prefect.toml", '[server.database]\nconnection_url = "sqlite:///x"\n', "PREFECT_SERVER_DATABASE"),
        ("pyproject.toml", '[tool.prefect.api]\nurl = "http://10.0.0.5:4200/api"\n', "PREFECT_API_URL"),
    ],
)
def test_files_that_would_lead_runs_to_another_projects_server_are_refused(tmp_path, monkeypatch, file, text, name):
    for variable in ("PREFECT_API_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=rf"Prefect reads \S+{file}, which sets {name}\w*: runs would go to another"):
        refuse_prefect_files(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "sqlite:///ours")
    refuse_prefect_files(tmp_path)


def test_files_that_say_nothing_of_that_are_no_matter(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / ".env").write_text("PREFECT_LOGGING_LEVEL=DEBUG\nPREFECT_API_URL=\n")
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\nline-length = 88\n")
    (tmp_path / "prefect.toml").write_text("no TOML")
    refuse_prefect_files(tmp_path)


def test_no_server_or_worker_inherits_the_registry_of_another_project(monkeypatch):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://10.0.0.5:5000")
    monkeypatch.setenv("MLFLOW_REGISTRY_STORE_URI", "sqlite:////theirs.db")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
    child = inherited("CL_DATABASE_URL")
    assert child["MLFLOW_TRACKING_USERNAME"] == "anna"
    assert not {"MLFLOW_REGISTRY_URI", "MLFLOW_REGISTRY_STORE_URI"} & set(child)
