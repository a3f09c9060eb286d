"""The staging folder: where a snapshot's files wait until they are staged, and what of them is already whole.

Owns the folder's layout, its lock, and the list of verified files by which a fetch resumes after a restart. Must not
fetch. The folder is 0700 and its files are 0600, with names of our own: no remote name ever becomes a path.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connector import private_files
from connector.errors import StateLocked
from connector.model import Inventory, Part
from connector.telemetry import logger

log = logger(__name__)

LIST_NAME: Final = "verified.ndjson"
LIST_BYTES_MAX: Final = 2**27
LIST_VERSION: Final = 1
_FILE_NAME: Final = re.compile(r"part-[0-9a-f]{24}\.json(\.gz)?")


@dataclass(frozen=True, slots=True)
class Verified:
    """A verified file.

    Attributes:
        part: the file.
        place: host and path it came from, without the query.
        digest: hex SHA-256 of it as it came.
        odd: it has lines that only `repair` can read.
    """

    part: Part
    place: str
    digest: str
    odd: bool


def stem_of(place: str) -> str:
    """The local name, without ending, of a remote file: a digest, so that no remote name becomes a path."""
    return "part-" + hashlib.sha256(place.encode()).hexdigest()[:24]


class StagingFolder:
    """The staging folder.

    Args:
        folder: made with mode 0700 where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from fetching into the folder.

        Raises:
            StateLocked: one does already.
            StateError: the folder cannot be used.
        """
        private_files.make_folder(self._folder)
        with private_files.translated(self._folder):
            lock = private_files.append(self._folder / "lock")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StateLocked(
                    f"another process fetches into {self._folder}",
                    hint="Give each connector its own state.path or state.staging_dir.",
                ) from error
            yield

    def open_folder(self, inventory: Inventory, name: str, *, fresh: bool = False) -> Path:
        """The folder of one snapshot of an inventory; every other one of that inventory is removed.

        Args:
            inventory: begins the folder's name.
            name: the rest of it, of our own making.
            fresh: whether it must be empty.
        """
        folder = self._folder / f"{inventory.label}-{name}"
        private_files.make_folder(self._folder)
        with private_files.translated(self._folder):
            for other in sorted(self._folder.glob(f"{inventory.label}-*")):
                if fresh or other != folder:
                    private_files.remove_folder(other)
        private_files.make_folder(folder)
        return folder

    def remove(self, parts: tuple[Part, ...]) -> None:
        """Remove the folder that these files are in. One that is not in the staging folder is left alone."""
        for folder in {part.path.parent for part in parts}:
            if folder.parent == self._folder:
                private_files.remove_folder(folder)


class VerifiedList:
    """The verified files of one snapshot's folder: a line each, added once the file is whole and on disk.

    Args:
        folder: of the snapshot.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / LIST_NAME
        self._known = {verified.place: verified for verified in self._read()}

    def get(self, place: str) -> Verified | None:
        """The verified file that came from there, if its file is still as it was noted."""
        return self._known.get(place)

    def add(self, verified: Verified) -> None:
        """Note a file. It is on disk before the note is."""
        part = verified.part
        row = {
            "version": LIST_VERSION, "place": verified.place, "digest": verified.digest, "odd": verified.odd,
            "file": part.path.name, "stored_bytes": part.path.stat().st_size, "name": part.name, "lines": part.lines,
            "size_bytes": part.size_bytes, "spellings": {name: list(seen) for name, seen in part.spellings.items()},
        }  # fmt: skip
        with private_files.append(self._path) as file:
            file.write(json.dumps(row).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._known[verified.place] = verified

    def _read(self) -> Iterator[Verified]:
        """The notes whose files are there. A last line cut by a crash is no note."""
        try:
            lines = private_files.read(self._path, LIST_BYTES_MAX).split(b"\n")
        except FileNotFoundError:
            return
        for line in lines[:-1]:
            try:
                verified = self._verified(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
                log.info("a file is fetched again", folder=str(self._folder), reason=type(error).__name__)
                continue
            yield verified

    def _verified(self, row: dict[str, Any]) -> Verified:
        if row["version"] != LIST_VERSION or not _FILE_NAME.fullmatch(row["file"]):
            raise ValueError("not a note of this version")
        path = self._folder / row["file"]
        if path.is_symlink() or path.stat().st_size != row["stored_bytes"]:
            raise ValueError("not the file that was noted")
        spellings = {str(name): tuple(map(str, seen)) for name, seen in row["spellings"].items()}
        part = Part(path, str(row["name"]), int(row["lines"]), int(row["size_bytes"]), spellings)
        return Verified(part, str(row["place"]), str(row["digest"]), bool(row["odd"]))
