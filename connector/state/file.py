"""The state file as a file: where it may lie, who may read it, and whether there is room beside it.

Whatever this process writes once it has opened a state file is readable by its own user alone.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from connector.errors import StateCorrupt, StateError, StateFull, StateLocked

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        "afs", "beegfs", "cifs", "davfs", "fuse.blobfuse", "fuse.blobfuse2", "fuse.davfs", "fuse.gcsfuse",
        "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs", "glusterfs", "ncpfs", "nfs",
        "nfs4", "smb2", "smb3", "smbfs", "vboxsf",
    }
)  # fmt: skip
"""Types of file systems, as Linux names them, on which a file lock does not keep another machine out."""

MOUNTS: Final = Path("/proc/self/mounts")
ROOM_BYTES_MIN: Final = 64 * 2**20
"""Free disk space below which nothing is staged, however small the snapshot."""

_OPEN: Final[set[Path]] = set()
_OPEN_GUARD: Final = threading.Condition()


def check_place(path: Path, *, mounts: Path = MOUNTS) -> bool:
    """Whether the file exists, in a place where a state file may be.

    Raises:
        StateCorrupt: a symbolic link, or no regular file.
        StateError: on a network file system, or the folder cannot be read.
    """
    if "?" in str(path.absolute()):
        raise StateError(f"{path} has a question mark in it", hint="The engine cannot open such a path; name another.")
    with _translated(path):
        for name in (path, *log_paths(path)):
            if name.is_symlink():
                raise StateCorrupt(f"{name} is a symbolic link", hint="Name the file itself in state.path.")
        exists = path.exists()
        if exists and not stat.S_ISREG(path.stat().st_mode):
            raise StateCorrupt(f"{path} is not a regular file", hint="Name a file in state.path.")
        text = mounts.read_text(encoding="utf-8", errors="surrogateescape") if mounts.exists() else ""
        kind = file_system(path.resolve(), text)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StateError(
            f"{path} is on a network file system ({kind}), where a lock does not keep other machines out",
            hint="Put state.path on a local disk; in Kubernetes, on a volume that one node has for itself.",
        )
    return exists


def make_private(path: Path, *, read_only: bool = False) -> None:
    """Make the folder where it is missing (0700); make the file, and all that is written from now on, private.

    With `read_only` nothing on the disk is touched.
    """
    os.umask(0o077)
    if read_only:
        return
    with _translated(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (path, *log_paths(path)):
            if name.exists() and stat.S_IMODE(name.stat().st_mode) & 0o077 and name.stat().st_uid == os.geteuid():
                name.chmod(0o600)


def put_in_place(draft: Path, path: Path) -> bool:
    """Give a whole new file its name; where another process was quicker, that one's stays. Returns whether ours did."""
    ours = False
    with _translated(path), suppress(FileExistsError):
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            raise
        except OSError:
            # No hard links on this file system.
            draft.rename(path)
        ours = True
    remove(draft)
    return ours


def remove(path: Path) -> None:
    """Remove a database file and its logs."""
    with _translated(path):
        for name in (path, *log_paths(path)):
            name.unlink(missing_ok=True)


@contextmanager
def reserved(path: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """This process has the file open once only: its own locks would not keep it out.

    Waits at most `wait_seconds` for the thread that has it, as the console of a `run` has it for a page.

    Raises:
        StateLocked: it has it open already.
    """
    place = path.resolve()
    with _OPEN_GUARD:
        if not _OPEN_GUARD.wait_for(lambda: place not in _OPEN, wait_seconds):
            raise StateLocked(f"this process has {path} open already (process id {os.getpid()})")
        _OPEN.add(place)
    try:
        yield
    finally:
        with _OPEN_GUARD:
            _OPEN.discard(place)
            _OPEN_GUARD.notify_all()


def check_free(path: Path, needed_bytes: int) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        StateFull: fewer than `needed_bytes` are free beside the state file.
    """
    needed = max(needed_bytes, ROOM_BYTES_MIN)
    free = free_bytes(path)
    if free < needed:
        raise StateFull(
            f"{free // 2**20:,} MiB are free on the disk of {path}, and staging may need {needed // 2**20:,} MiB",
            hint="Free space; nothing was changed, and the next poll goes on.",
        )


def free_bytes(path: Path) -> int:
    """Free space on the disk of the file, for this user."""
    with _translated(path):
        return shutil.disk_usage(path.parent).free


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system a resolved path is on, by the text of `/proc/mounts`; "" where it does not say."""
    kinds = {}
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) > 2:  # noqa: PLR2004 - device, place, type
            # Blanks, tabs, newlines and backslashes in a place are written as octal escapes.
            kinds[words[1].encode("latin-1", "surrogateescape").decode("unicode_escape")] = words[2]
    for parent in (path, *path.parents):
        if str(parent) in kinds:
            return kinds[str(parent)]
    return ""


def log_paths(path: Path) -> list[Path]:
    """The write-ahead logs that the engine may keep beside the file: usually none or the first."""
    return [path.with_name(path.name + suffix) for suffix in (".wal", ".wal.checkpoint", ".wal.recovery")]


def draft_path(path: Path) -> Path:
    """What a new file is called until it is whole."""
    return path.with_name(path.name + ".new")


def rebuilt_path(path: Path) -> Path:
    """What a file is called while it is rebuilt: another name than that of an empty one, which is used if whole."""
    return path.with_name(path.name + ".rebuilt")


def spill_path(path: Path) -> Path:
    """The folder beside the file that holds what does not fit into memory."""
    return path.with_name(path.name + ".spill")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn an OSError on the file or its folder into ours."""
    try:
        yield
    except OSError as error:
        raise StateError(f"{path} cannot be used: {error.strerror}", hint="Check state.path and its folder.") from error
