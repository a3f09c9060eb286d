"""The staging folder: where a snapshot's files are kept until they are staged, and which of them are complete.

Defines the folder's layout, its lock, and the list of verified files from which a fetch resumes after a restart. The
folder has mode 0700 and its files 0600, with names of our own: no remote name ever becomes a path.
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
        place: host and path of its URL, without the query.
        digest: hex SHA-256 of the file as received.
        odd: whether it has lines that only `repair` can read.
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
        folder: created with mode 0700 where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from fetching into the folder.

        Raises:
            StateLocked: another process does already.
            StateError: the folder cannot be used.
        """
        private_files.make_folder(self._folder)
        with private_files.translate_errors(self._folder):
            file = private_files.append(self._folder / "lock")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StateLocked(
                    f"another process is fetching into {self._folder}",
                    hint="Give each connector its own state.path or state.staging_dir.",
                ) from error
            yield

    def open_folder(self, inventory: Inventory, name: str, *, fresh: bool = False) -> Path:
        """Open the folder of one snapshot of an inventory, and remove that inventory's other folders.

        Args:
            inventory: its label begins the folder's name.
            name: the rest of the name; never a remote name.
            fresh: whether the folder must be empty.
        """
        folder = self._folder / f"{inventory.label}-{name}"
        private_files.make_folder(self._folder)
        with private_files.translate_errors(self._folder):
            for other in sorted(self._folder.glob(f"{inventory.label}-*")):
                if fresh or other != folder:
                    private_files.remove_folder(other)
        private_files.make_folder(folder)
        return folder

    def remove(self, parts: tuple[Part, ...]) -> None:
        """Remove the folders of these parts, except folders outside the staging folder."""
        for folder in {part.path.parent for part in parts}:
            if folder.parent == self._folder:
                private_files.remove_folder(folder)


class VerifiedList:
    """The verified files of one snapshot's folder: one line per file, added once the file is complete and on disk.

    Args:
        folder: the snapshot's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / LIST_NAME
        self._by_place = {verified.place: verified for verified in self._read()}

    def get(self, place: str) -> Verified | None:
        """The verified file of that place; None where there is none, or its file changed since."""
        return self._by_place.get(place)

    def add(self, verified: Verified) -> None:
        """Add a file, which must be on disk already."""
        part = verified.part
        row = {
            "version": LIST_VERSION,
            "place": verified.place,
            "digest": verified.digest,
            "odd": verified.odd,
            "file": part.path.name,
            "stored_bytes": part.path.stat().st_size,
            "name": part.name,
            "lines": part.lines,
            "size_bytes": part.size_bytes,
            "spellings": {name: list(spelled) for name, spelled in part.spellings.items()},
            "index_bytes": part.index.stat().st_size if part.index else 0,
        }
        with private_files.append(self._path) as file:
            file.write(json.dumps(row).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._by_place[verified.place] = verified

    def _read(self) -> Iterator[Verified]:
        """The entries whose files are unchanged. A last line cut off by a crash is ignored."""
        try:
            lines = private_files.read(self._path, LIST_BYTES_MAX).split(b"\n")
        except FileNotFoundError:
            return
        for line in lines[:-1]:
            try:
                verified = self._read_row(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
                log.info("a file must be downloaded again", folder=str(self._folder), reason=type(error).__name__)
                continue
            yield verified

    def _read_row(self, row: dict[str, Any]) -> Verified:
        if row["version"] != LIST_VERSION or not _FILE_NAME.fullmatch(row["file"]):
            raise ValueError("not an entry of this version")
        path = self._folder / row["file"]
        if path.is_symlink() or path.stat().st_size != row["stored_bytes"]:
            raise ValueError("not the file that was verified")
        spellings = {str(name): tuple(map(str, spelled)) for name, spelled in row["spellings"].items()}
        # An earlier version wrote none.
        index = path.with_name(f"{path.name.split('.')[0]}.lines") if row.get("index_bytes") else None
        if index is not None and (index.is_symlink() or index.stat().st_size != row["index_bytes"]):
            raise ValueError("not the index that was written")
        part = Part(path, str(row["name"]), int(row["lines"]), int(row["size_bytes"]), spellings, index=index)
        return Verified(part, str(row["place"]), str(row["digest"]), bool(row["odd"]))
