from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from connector import private_files
from connector.errors import StateError, StateFull


def mode(path: Path) -> int:
    """The permissions of a file or folder."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """Mode 0700 whatever the mask; one that is there is narrowed."""
    before = os.umask(0)
    try:
        private_files.make_folder(tmp_path / "a" / "b")
        (tmp_path / "wide").mkdir(mode=0o777)
        private_files.make_folder(tmp_path / "wide")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "a" / "b"), mode(tmp_path / "wide")) == (0o700, 0o700)


@pytest.mark.parametrize("what", ["link", "file", "dangling"])
def test_what_is_no_folder_of_ours_is_refused(tmp_path: Path, what: str) -> None:
    """A link, even to a folder, and a file."""
    path = tmp_path / "x"
    if what == "file":
        path.write_text("")
    else:
        (tmp_path / "real").mkdir()
        path.symlink_to(tmp_path / ("real" if what == "link" else "nowhere"))
    with pytest.raises(StateError, match="x"):
        private_files.make_folder(path)


def test_a_file_is_made_anew_and_for_its_owner_only(tmp_path: Path) -> None:
    """Whatever had its name is gone, a link included; what the link named is as it was."""
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "x").symlink_to(tmp_path / "victim")
    before = os.umask(0)
    try:
        with private_files.create(tmp_path / "x") as file:
            file.write(b"new")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "x"), (tmp_path / "x").read_text()) == (0o600, "new")
    assert (tmp_path / "victim").read_text() == "precious"


def test_appending_and_reading_follow_no_link(tmp_path: Path) -> None:
    """Neither writes nor reads go elsewhere."""
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "x").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        private_files.append(tmp_path / "x")
    with pytest.raises(OSError, match="symbolic"):
        private_files.read(tmp_path / "x", 10)
    with private_files.append(tmp_path / "y") as file:
        file.write(b"12345")
    assert (private_files.read(tmp_path / "y", 3), mode(tmp_path / "y")) == (b"123", 0o600)


def test_a_content_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """The new one, mode 0600, and no draft beside it."""
    path = tmp_path / "x"
    path.write_text("old")
    private_files.replace(path, b"new", durable=True)
    assert (path.read_bytes(), mode(path), [entry.name for entry in tmp_path.iterdir()]) == (b"new", 0o600, ["x"])


def test_a_folder_is_removed_with_all_in_it_and_a_link_is_only_unlinked(tmp_path: Path) -> None:
    """What a link names stays; what is missing is fine."""
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    private_files.remove_folder(tmp_path / "link")
    assert (tmp_path / "real" / "deep" / "file").exists()
    private_files.remove_folder(tmp_path / "real")
    private_files.remove_folder(tmp_path / "real")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOSPC, StateFull), (errno.EDQUOT, StateFull), (errno.EACCES, StateError), (errno.EIO, StateError)],
)
def test_an_error_of_the_system_is_told_with_the_path(tmp_path: Path, code: int, kind: type[StateError]) -> None:
    """A full disk is distinguished from everything else."""
    with pytest.raises(kind, match=tmp_path.name) as caught, private_files.translate_errors(tmp_path):
        raise OSError(code, os.strerror(code))
    assert caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)
