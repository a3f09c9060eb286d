"""The exports of a fleet on disk: each generation's files, and the JSON pages as a cursor over the same records.

Owns the folder that generations are written to, which generations are kept, the split into parts by device group, and
the page token. A generation is written once, streamed, and read from disk after that. Must not know HTTP.
"""

from __future__ import annotations

import base64
import json
import shutil
import threading
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from connector.model import Inventory, Method
from connector.simulator.fleet.fleet import Fleet
from connector.simulator.fleet.layouts import Writing

RECORDS_OF_PART_MAX: Final = 40_000
GENERATIONS_KEPT: Final = 2
_BLOCK_LINES: Final = 1_000
_CHUNK_BYTES: Final = 1 << 18
_GZIP: Final = 31
"""zlib's window bits for a gzip header and trailer."""


@dataclass(frozen=True, slots=True)
class ExportPart:
    """One part of an export on disk.

    Attributes:
        path: where it is.
        name: the part's file name on the wire, new in every generation.
        group_id: the device group whose records it holds.
        blocks: for the pages only: offset, size and number of lines of each separately compressed block.
    """

    path: Path
    name: str
    group_id: int
    lines: int
    blocks: tuple[tuple[int, int, int], ...] = ()

    def read_lines(self, start: int, count: int) -> list[bytes]:
        """Lines `start` to `start + count` of a pages part, without newlines."""
        found: list[bytes] = []
        first = 0
        with self.path.open("rb") as file:
            for offset, size, lines in self.blocks:
                if len(found) >= count:
                    break
                if first + lines > start:
                    file.seek(offset)
                    block = zlib.decompress(file.read(size)).split(b"\n")
                    begin = max(0, start - first)
                    found += block[begin : begin + count - len(found)]
                first += lines
        return found


@dataclass(frozen=True, slots=True)
class Position:
    """Where a walk over the pages is: what the documented page token says.

    Attributes:
        time_path: the generation, as `2021-01-25/0200/`.
        part: index of the part (`ExportFileIndex`).
        line: the line within it that comes next (`LineStoppedAt`).
    """

    time_path: str
    part: int
    line: int

    def token(self) -> str:
        """The `$skiptoken`: base64 of compact JSON."""
        text = {
            "ExportDefinition": {"TimePath": self.time_path},
            "ExportFileIndex": self.part,
            "LineStoppedAt": self.line,
        }
        return base64.b64encode(json.dumps(text, separators=(",", ":")).encode()).decode()

    @classmethod
    def read(cls, token: str) -> Position:
        """The position in a page token.

        Raises:
            ValueError: the token is not one of ours.
        """
        try:
            text = json.loads(base64.b64decode(token, validate=True))
            position = cls(text["ExportDefinition"]["TimePath"], text["ExportFileIndex"], text["LineStoppedAt"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("not a page token") from error
        if not (
            isinstance(position.part, int) and isinstance(position.line, int) and position.part >= 0 <= position.line
        ):
            raise ValueError("not a page token")
        return position


class _PartFile(Protocol):
    """A part that is being written."""

    lines: int

    def add(self, lines: list[bytes]) -> None:
        """Write lines, given without newlines."""

    def close(self) -> tuple[tuple[int, int, int], ...]:
        """Finish the file. Returns its blocks, if it has any."""

    def abandon(self) -> None:
        """Close the file as it is, after an error."""


class _GzipFile:
    """A part of the files: one gzip member, streamed."""

    def __init__(self, path: Path) -> None:
        self.lines = 0
        self._file = path.open("wb")
        self._gzip = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def add(self, lines: list[bytes]) -> None:
        self.lines += len(lines)
        text = b"\n".join(lines) + b"\n"
        self._waiting.append(text)
        self._waiting_bytes += len(text)
        if self._waiting_bytes >= _CHUNK_BYTES:
            self._write()

    def close(self) -> tuple[tuple[int, int, int], ...]:
        self._write()
        self._file.write(self._gzip.flush())
        self._file.close()
        return ()

    def abandon(self) -> None:
        self._file.close()

    def _write(self) -> None:
        self._file.write(self._gzip.compress(b"".join(self._waiting)))
        self._waiting.clear()
        self._waiting_bytes = 0


class _BlockFile:
    """A part of the pages: blocks of lines, each compressed for itself, so that a page can start anywhere."""

    def __init__(self, path: Path) -> None:
        self.lines = 0
        self._file = path.open("wb")
        self._waiting: list[bytes] = []
        self._blocks: list[tuple[int, int, int]] = []

    def add(self, lines: list[bytes]) -> None:
        self.lines += len(lines)
        self._waiting += lines
        while len(self._waiting) >= _BLOCK_LINES:
            self._write(self._waiting[:_BLOCK_LINES])
            del self._waiting[:_BLOCK_LINES]

    def close(self) -> tuple[tuple[int, int, int], ...]:
        if self._waiting:
            self._write(self._waiting)
        self._file.close()
        return tuple(self._blocks)

    def abandon(self) -> None:
        self._file.close()

    def _write(self, lines: list[bytes]) -> None:
        block = zlib.compress(b"\n".join(lines), 1)
        self._blocks.append((self._file.tell(), len(block), len(lines)))
        self._file.write(block)


class _Splitter:
    """Splits records into parts by device group; a group's next part begins when one is full.

    A context: a file that is still open when it is left was not finished, and is closed.
    """

    def __init__(self, folder: Path, job: uuid.UUID, method: Method, *, records_of_part_max: int) -> None:
        self._folder = folder
        self._job = job
        self._method = method
        self._records_of_part_max = records_of_part_max
        self._open: dict[int, _PartFile] = {}
        self._done: dict[int, list[ExportPart]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._open.values():
            file.abandon()

    def add(self, group_id: int, lines: list[bytes]) -> None:
        """Write a device's records."""
        while lines:
            file = self._open.get(group_id)
            if file is None:
                path = self._path(group_id)
                file = self._open[group_id] = _GzipFile(path) if self._method is Method.FILES else _BlockFile(path)
            room = self._records_of_part_max - file.lines
            file.add(lines[:room])
            lines = lines[room:]
            if file.lines >= self._records_of_part_max:
                self._finish(group_id)

    def finish(self) -> tuple[ExportPart, ...]:
        """The parts, by group, in the order of their records."""
        for group_id in tuple(self._open):
            self._finish(group_id)
        return tuple(part for group_id in sorted(self._done) for part in self._done[group_id])

    def _finish(self, group_id: int) -> None:
        file = self._open[group_id]
        path = self._path(group_id)
        done = self._done.setdefault(group_id, [])
        name = f"part-{len(done):05d}-{self._job}.c{group_id:03d}.json.gz"
        done.append(ExportPart(path, name, group_id, file.lines, file.close()))
        del self._open[group_id]

    def _path(self, group_id: int) -> Path:
        return self._folder / f"{self._job}.{self._method}.{group_id}.{len(self._done.get(group_id, ()))}"


class ExportGeneration:
    """One generation's exports on disk, each written when it is first asked for."""

    def __init__(self, fleet: Fleet, number: int, folder: Path, *, records_of_part_max: int) -> None:
        self.number = number
        self.generated_at: datetime = fleet.generated_at(number)
        self.time_path = self.generated_at.strftime("%Y-%m-%d/%H%M/")
        self._fleet = fleet
        self._folder = folder
        self._records_of_part_max = records_of_part_max
        self._written: dict[tuple[Inventory, Method], tuple[ExportPart, ...]] = {}
        self._lock = threading.Lock()

    def parts(self, inventory: Inventory, method: Method) -> tuple[ExportPart, ...]:
        """The parts of an inventory, in the form of the files or of the pages; both have the same order of records."""
        with self._lock:
            if (inventory, method) not in self._written:
                self._written[inventory, method] = self._write(inventory, method)
            return self._written[inventory, method]

    def written(self) -> tuple[tuple[Inventory, Method], ...]:
        """What has been asked for so far."""
        with self._lock:
            return tuple(self._written)

    def remove(self) -> None:
        """Delete the files."""
        with self._lock:
            self._written.clear()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, inventory: Inventory, method: Method) -> tuple[ExportPart, ...]:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        writing = Writing(self._fleet, self.number, inventory, camel_case=method is Method.JSON)
        # The id is in the names of the parts: the same generation always has the same names, the next has others.
        job = uuid.uuid5(uuid.NAMESPACE_OID, f"{self._fleet.seed}/{self.number}/{inventory}")
        with _Splitter(self._folder, job, method, records_of_part_max=self._records_of_part_max) as splitter:
            for device in self._fleet.present(self.number):
                splitter.add(device.group_id, writing.lines(device))
            return splitter.finish()


class Exports:
    """The generations that can be fetched: the current one and the few before it.

    Args:
        fleet: what is exported.
        folder: an existing folder of ours.
        records_of_part_max: records of one part at most.
    """

    def __init__(self, fleet: Fleet, folder: Path, *, records_of_part_max: int = RECORDS_OF_PART_MAX) -> None:
        self.fleet = fleet
        self._folder = folder
        self._records_of_part_max = records_of_part_max
        self._lock = threading.Lock()
        self._advancing = threading.Lock()
        self._kept: list[ExportGeneration] = [self._make(0)]

    @property
    def current(self) -> ExportGeneration:
        """The newest generation."""
        with self._lock:
            return self._kept[-1]

    def at(self, time_path: str) -> ExportGeneration | None:
        """The kept generation that a page token or a file's path names."""
        with self._lock:
            return next((found for found in self._kept if found.time_path == time_path), None)

    def advance(self, generations: int = 1) -> ExportGeneration:
        """Go on by some generations. What was in use of the current one is written before the switch."""
        with self._advancing:
            current = self.current
            following = self._make(current.number + generations)
            for inventory, method in current.written():
                following.parts(inventory, method)
            with self._lock:
                self._kept.append(following)
                gone, self._kept = self._kept[:-GENERATIONS_KEPT], self._kept[-GENERATIONS_KEPT:]
        for generation in gone:
            generation.remove()
        return following

    def _make(self, number: int) -> ExportGeneration:
        folder = self._folder / f"{number}"
        return ExportGeneration(self.fleet, number, folder, records_of_part_max=self._records_of_part_max)


def read_page(
    parts: Sequence[ExportPart], position: Position, *, records_max: int, cross_parts: bool, empty_after_part: bool
) -> tuple[list[bytes], Position | None]:
    """One page of the pages' parts from a position on: its records, and where the next begins (None: no next).

    Args:
        parts: in the form of the pages.
        position: where the page begins.
        records_max: how many records it has at most.
        cross_parts: fill the page over the end of a part; otherwise it stops there and may be short.
        empty_after_part: stay at a part's end, so that the next page has no record.
    """
    found: list[bytes] = []
    part, line = position.part, position.line
    while part < len(parts):
        lines = parts[part].read_lines(line, records_max - len(found))
        found += lines
        line += len(lines)
        if line >= parts[part].lines and not (lines and empty_after_part):
            part, line = part + 1, 0
        if not cross_parts or len(found) >= records_max:
            break
    following = Position(position.time_path, part, line) if part < len(parts) else None
    return found, following
