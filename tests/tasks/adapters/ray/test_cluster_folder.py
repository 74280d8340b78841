"""Folders of clusters whose driver was killed: found where they are this host's, and never where another's."""

import os
import socket
from pathlib import Path

import pytest

from cl_core import processes
from tasks.adapters.ray import cluster_folder

GONE = "999999-1b01234567"


def test_of_containers_that_share_a_folder_each_finds_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_folder, "_ROOT", tmp_path)
    host = socket.gethostname()
    drivers = {"ours": f"{host}-{GONE}", "theirs": f"other-{GONE}", "longer": f"{host}-2-{GONE}", "unknown": ""}
    for name, driver in drivers.items():
        (tmp_path / f"cl-ray-7-{name}").mkdir()
        (tmp_path / f"cl-ray-7-{name}" / "driver.txt").write_text(driver)
    (tmp_path / "cl-ray-8-just-made").mkdir()
    assert [folder.name for folder in cluster_folder.abandoned_folders()] == ["cl-ray-7-ours"]


def test_a_cluster_that_begins_removes_abandoned_ones_and_leaves_room_for_names_of_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_folder, "_ROOT", tmp_path)
    (abandoned := tmp_path / "cl-ray-7-gone").mkdir()
    (abandoned / "driver.txt").write_text(f"{socket.gethostname()}-{GONE}")
    with cluster_folder.temporary_folder(tmp_path / "home" / "trainings" / "7") as folder:
        assert not abandoned.exists()
        assert (folder / "driver.txt").read_text() == processes.token()
        assert cluster_folder.is_for(folder, tmp_path / "home")
        assert cluster_folder.abandoned_folders() == []
        # Ray's own part of a path of a socket has 65 bytes, and all of it may have 107.
        longest = f"/tmp/{folder.name}".replace(str(os.getpid()), "4194304")
        assert len(longest) + 65 <= 107
    assert not folder.exists()
