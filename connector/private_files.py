"""Files and folders that only their owner may read. Owns modes, and the refusal of symbolic links.

Must not know what is in them. Every file is made anew and never followed through a link, so that nobody who can write
to a folder can turn a write of ours into a write elsewhere.
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


def make_folder(path: Path) -> None:
    """Make a folder with mode 0700 where it is missing, and its parents with the usual mode.

    Raises:
        StateError: it is a symbolic link, no folder, another user's, or cannot be made.
    """
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir(mode=FOLDER_MODE)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise StateError(
                f"{path} is not a folder of this user", hint="It must be a real folder, not a symbolic link."
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(FOLDER_MODE)


def create(path: Path) -> BinaryIO:
    """A new file for writing, mode 0600; whatever had the name before is gone. Raises OSError."""
    with suppress(FileNotFoundError):
        path.unlink()
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINKS, FILE_MODE), "r+b")


def append(path: Path) -> BinaryIO:
    """A file for writing at its end, made with mode 0600 where it is missing. Raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINKS, FILE_MODE), "ab")


def read(path: Path, bytes_max: int) -> bytes:
    """The first bytes of a file that is no link. Raises OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | _NO_LINKS), "rb") as file:
        return file.read(bytes_max)


def replace(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Put a whole new content in a file's place, mode 0600, or leave it as it was. Raises OSError."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    with create(draft) as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    draft.replace(path)


def remove_folder(path: Path) -> None:
    """Remove a folder and all in it; a link is unlinked, never followed. A missing one is fine."""
    with translated(path):
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an OSError on one of these files into ours."""
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
