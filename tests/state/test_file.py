from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from connector.errors import StateCorrupt, StateError, StateFull, StateLocked
from connector.state.file import (
    ROOM_BYTES_MIN,
    check_free,
    check_place,
    file_system,
    make_private,
    put_in_place,
    reserved,
)

MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
server:/export /data nfs4 rw,vers=4.2 0 0
//server/share /data/local\\040disk/share cifs rw 0 0
/dev/vdb /data/local\\040disk xfs rw 0 0
tmpfs /data/nested/tmp tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/state.duckdb", "ext4"),
        ("/data/state.duckdb", "nfs4"),
        ("/database/state.duckdb", "ext4"),
        ("/data/nested/state.duckdb", "nfs4"),
        ("/data/nested/tmp/a/state.duckdb", "tmpfs"),
        ("/data/local disk/state.duckdb", "xfs"),
        ("/data/local disk/share/state.duckdb", "cifs"),
    ],
)
def test_a_file_is_on_the_file_system_that_is_mounted_nearest_above_it(path: str, kind: str) -> None:
    """By whole names of folders, blanks in them included."""
    assert file_system(Path(path), MOUNTS) == kind


def test_where_mounts_are_not_told_nothing_is_refused() -> None:
    """Not every system has that list, and a line of it may be cut."""
    assert file_system(Path("/state.duckdb"), "") == ""
    assert file_system(Path("/state.duckdb"), "nonsense\n\n") == ""


def test_a_network_file_system_is_refused(tmp_path: Path) -> None:
    """A lock there does not keep another machine out."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/x {tmp_path.resolve()} nfs4 rw 0 0\n")
    with pytest.raises(StateError, match=r"network file system \(nfs4\)") as raised:
        check_place(tmp_path / "state.duckdb", mounts=mounts)
    assert "local disk" in raised.value.hint


@pytest.mark.parametrize("name", ["", ".wal", ".wal.checkpoint", ".wal.recovery"])
def test_symbolic_links_are_refused(name: str, tmp_path: Path) -> None:
    """Neither the file nor its logs may lead elsewhere, whether there is something or not."""
    (tmp_path / f"state.duckdb{name}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateCorrupt, match="symbolic link"):
        check_place(tmp_path / "state.duckdb")


def test_a_folder_or_a_pipe_is_no_state_file(tmp_path: Path) -> None:
    """Only a regular file is opened."""
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "pipe"):
        with pytest.raises(StateCorrupt, match="not a regular file"):
            check_place(tmp_path / name)


def test_a_path_that_the_engine_would_misread_is_refused(tmp_path: Path) -> None:
    """What stands after a question mark would not be part of the name."""
    with pytest.raises(StateError, match="question mark"):
        check_place(tmp_path / "what?" / "state.duckdb")


def test_whether_the_file_exists_is_told(tmp_path: Path) -> None:
    """And looking makes none."""
    path = tmp_path / "folder" / "state.duckdb"
    assert not check_place(path)
    assert not path.parent.exists()
    path.parent.mkdir()
    path.touch()
    assert check_place(path)


def test_what_is_there_and_what_will_be_is_for_its_owner_alone(tmp_path: Path) -> None:
    """The folder that is made, files that are there already, and everything that this process makes from then on."""
    path = tmp_path / "folder" / "state.duckdb"
    make_private(path)
    for name in (path, path.with_name("state.duckdb.wal")):
        name.touch(mode=0o666)
        name.chmod(0o644)
    make_private(path)
    (path.parent / "later").touch()
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in (path.parent, *path.parent.iterdir())}
    assert modes == {"folder": 0o700, "state.duckdb": 0o600, "state.duckdb.wal": 0o600, "later": 0o600}


def test_reading_only_touches_no_mode(tmp_path: Path) -> None:
    """Neither the folder is made nor the file's mode changed; what this process makes later is private all the same."""
    path = tmp_path / "state.duckdb"
    path.touch()
    path.chmod(0o644)
    make_private(path, read_only=True)
    make_private(tmp_path / "folder" / "state.duckdb", read_only=True)
    (tmp_path / "later").touch()
    assert not (tmp_path / "folder").exists()
    assert [stat.S_IMODE(entry.stat().st_mode) for entry in (path, tmp_path / "later")] == [0o644, 0o600]


def test_a_file_that_another_process_made_first_stays(tmp_path: Path) -> None:
    """Two processes begin with the same new file at once: neither takes the other's away."""
    draft, path = tmp_path / "state.duckdb.new", tmp_path / "state.duckdb"
    for content, expected in ((b"first", b"first"), (b"second", b"first")):
        draft.write_bytes(content)
        put_in_place(draft, path)
        assert path.read_bytes() == expected
        assert not draft.exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file stands where a folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be used"):
        make_private(tmp_path / "file" / "folder" / "state.duckdb")


def test_one_process_has_a_file_open_once(tmp_path: Path) -> None:
    """Under any of its names; and again after it was closed."""
    path = tmp_path / "state.duckdb"
    with reserved(path):
        with pytest.raises(StateLocked, match=str(os.getpid())), reserved(tmp_path / "." / "state.duckdb"):
            pass
        with reserved(tmp_path / "other.duckdb"):
            pass
    with reserved(path):
        assert True


def test_nothing_is_begun_that_the_disk_has_no_room_for(tmp_path: Path) -> None:
    """More than any disk has is refused, with both figures; a little is let through."""
    check_free(tmp_path / "state.duckdb", 1)
    with pytest.raises(StateFull, match=r"MiB are free .* may need [\d,]+ MiB"):
        check_free(tmp_path / "state.duckdb", 2**62)
    assert ROOM_BYTES_MIN > 0


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    """There is no disk to look at."""
    with pytest.raises(StateError, match="cannot be used"):
        check_free(tmp_path / "gone" / "state.duckdb", 1)
