"""The file with the link to a console that has no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from connector import private_files


@contextmanager
def link_file(path: Path, link: str) -> Iterator[None]:
    """A file, mode 0600, that has the link while the block runs.

    Raises:
        StateError: it cannot be written.
    """
    with private_files.translate_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with private_files.create(path) as file:
            file.write(f"{link}\n".encode())
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
