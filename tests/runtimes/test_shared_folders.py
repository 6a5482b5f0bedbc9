"""The folders behind `./shared`, as the node makes and removes them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from unittest import mock

import pytest

from mill_actors.runtimes.shared import SharedFolders

A = "01a2042c-9635-70fe-8c39-d784264f3c6c"
B = "01a2042c-9635-70fe-8c39-d784264f3c6d"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o277])
def test_a_folder_is_closed_to_others_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = SharedFolders(tmp_path).make(A)
    finally:
        os.umask(before)
    assert folder == tmp_path / "shared" / A
    assert mode(folder) == 0o700
    assert mode(folder.parent) == 0o711


def test_making_it_again_changes_nothing(tmp_path: Path) -> None:
    folders = SharedFolders(tmp_path)
    assert not folders.exists(A)
    (folders.make(A) / "file").write_text("x")
    assert folders.exists(A)
    assert not folders.exists(B)
    assert (folders.make(A) / "file").read_text() == "x"
    assert (SharedFolders(tmp_path).make(A) / "file").read_text() == "x"


def test_the_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert SharedFolders("work").make(A) == tmp_path / "work" / "shared" / A


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_it_belongs_to_the_user_jobs_run_as(tmp_path: Path) -> None:
    folder = SharedFolders(tmp_path).make(A)  # as if the node had died before it gave it away
    for made in (SharedFolders(tmp_path, (65534, 65533)).make(one) for one in (A, B)):
        assert (made.stat().st_uid, made.stat().st_gid) == (65534, 65533)
        assert mode(made) == 0o700
    assert folder.parent.stat().st_uid == 0


@pytest.mark.parametrize(
    "flow_id", ["", ".", "..", "../x", "/etc", A + "/..", A + "\n", A.upper(), f"{{{A}}}", A.replace("-", "")]
)
def test_only_a_flows_id_names_a_folder(tmp_path: Path, flow_id: str) -> None:
    folders = SharedFolders(tmp_path)
    for call in (folders.make, folders.exists, folders.remove):
        with pytest.raises(ValueError, match="not a flow's id"):
            call(flow_id)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_folder_is_not_taken_for_one(tmp_path: Path) -> None:
    folders = SharedFolders(tmp_path)
    folders.make(B)
    (tmp_path / "shared" / A).symlink_to(tmp_path)
    with pytest.raises(FileExistsError):
        folders.make(A)


def test_removing_takes_all_in_it_and_nothing_beyond(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    folders = SharedFolders(tmp_path)
    folder = folders.make(A)
    (folder / "sub").mkdir()
    (folder / "sub" / "file").write_text("x")
    (folder / "out").symlink_to(tmp_path / "other")
    folders.remove(A)
    assert not folders.exists(A)
    assert (tmp_path / "other" / "file").exists()
    folders.remove(A)


def test_folders_of_closed_flows_are_swept(tmp_path: Path) -> None:
    folders = SharedFolders(tmp_path)
    assert folders.sweep([]) == 0
    folders.make(A)
    folders.make(B)
    (tmp_path / "shared" / "something").mkdir()
    assert folders.sweep([]) == 0  # too new: a flow may have been opened since they were counted
    with mock.patch("mill_actors.runtimes.shared._NEW_SECONDS", 0.0):
        assert folders.sweep([A]) == 1
    assert folders.exists(A)
    assert not folders.exists(B)
    assert (tmp_path / "shared" / "something").is_dir()
