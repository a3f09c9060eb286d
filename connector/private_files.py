"""Files and folders that only their owner may read.

No symbolic link is ever followed, and a file that is replaced is created again, so that nobody who can write to a
folder can redirect our writes elsewhere.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ELOOP, ENOSPC
from pathlib import Path
from typing import BinaryIO, Final

from connector.errors import StateError, StateFull

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_NO_LINKS: Final = os.O_NOFOLLOW | os.O_CLOEXEC

Stamp = tuple[int, int, int]


def make_folder(path: Path) -> None:
    """Create a folder with mode 0700 if it is missing, and its parents with the default mode.

    Raises:
        StateError: it is a symbolic link, not a folder, another user's, or cannot be created.
    """
    with translate_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir(mode=FOLDER_MODE)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise StateError(
                f"{path} is not a folder of this user", hint="It must be a real folder, not a symbolic link."
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            path.chmod(FOLDER_MODE)


def create(path: Path) -> BinaryIO:
    """Create a file for writing, mode 0600, in place of any file of that name. Raises OSError."""
    with suppress(FileNotFoundError):
        path.unlink()
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINKS, FILE_MODE), "r+b")


def append(path: Path) -> BinaryIO:
    """Open a file for appending; created with mode 0600 if it is missing. Raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINKS, FILE_MODE), "ab")


def read(path: Path, bytes_max: int) -> bytes:
    """Read at most `bytes_max` bytes of a file, which must not be a link. Raises OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | _NO_LINKS), "rb") as file:
        return file.read(bytes_max)


def is_writable_by_all(path: Path) -> bool:
    """Whether any user of the machine may change a file, or put another in its place. Links are followed.

    A read-only file system, as Kubernetes mounts configurations with mode 0777, lets nobody. Raises OSError.
    """
    path = path.resolve(strict=True)
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return False
    folder = path.parent.stat().st_mode
    return bool(path.stat().st_mode & stat.S_IWOTH) or bool(folder & stat.S_IWOTH and not folder & stat.S_ISVTX)


def is_readable_by_all(path: Path) -> bool:
    """Whether any user of the machine may read a file, by its mode and that of its folder. Links are followed.

    A read-only file system, as Kubernetes mounts secrets, is the pod's own. Raises OSError.
    """
    path = path.resolve(strict=True)
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return False
    return bool(path.stat().st_mode & stat.S_IROTH and path.parent.stat().st_mode & stat.S_IXOTH)


def stamps(*paths: Path) -> tuple[Stamp, ...]:
    """What tells files from what they were, or from files that replaced them; those that are not there are left out."""
    found = []
    for path in paths:
        with suppress(OSError):
            found.append(stamp_of(path.stat()))
    return tuple(found)


def stamp_of(status: os.stat_result) -> Stamp:
    """The same of one file."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def replace(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Replace a file's whole content, mode 0600, or leave it unchanged. Raises OSError."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    with create(draft) as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    draft.replace(path)


def remove_folder(path: Path) -> None:
    """Remove a folder and its contents, if it exists. A link is removed itself, never followed."""
    with translate_errors(path):
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into one of our errors, which names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            raise StateFull(
                f"no space left for {path}: {error.strerror}",
                hint="Free space, or put state.staging_dir on a larger disk. Nothing was staged.",
            ) from error
        reason = "it is a symbolic link" if error.errno == ELOOP else error.strerror
        raise StateError(f"{path} cannot be used: {reason}", hint="Check its permissions and its disk.") from error
