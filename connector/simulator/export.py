"""The exports of a fleet on disk: each generation's files, and the JSON pages as a cursor over the same records.

Manages the folder of generations, which of them are kept, the split into parts by device group, and the page token. A
generation is written once, as a stream, and read from disk after that.
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
from connector.simulator.fleet.layouts import RecordWriter

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
        path: its file.
        name: the part's file name in URLs, new in every generation.
        group_id: the device group whose records it holds.
        blocks: for pages only: offset, size and number of lines of each separately compressed block.
    """

    path: Path
    name: str
    group_id: int
    lines: int
    blocks: tuple[tuple[int, int, int], ...] = ()

    def read_lines(self, start: int, count: int) -> list[bytes]:
        """Lines `start` to `start + count` of a part of the pages, without newlines."""
        result: list[bytes] = []
        first = 0
        with self.path.open("rb") as file:
            for offset, size, lines in self.blocks:
                if len(result) >= count:
                    break
                if first + lines > start:
                    file.seek(offset)
                    block = zlib.decompress(file.read(size)).split(b"\n")
                    begin = max(0, start - first)
                    result += block[begin : begin + count - len(result)]
                first += lines
        return result


@dataclass(frozen=True, slots=True)
class PagePosition:
    """Where a walk over the pages is: the content of the documented page token.

    Attributes:
        time_path: the generation, as `2021-01-25/0200/`.
        part: index of the part (`ExportFileIndex`).
        line: the next line of that part (`LineStoppedAt`).
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
    def read(cls, token: str) -> PagePosition:
        """Read the position from a page token.

        Raises:
            ValueError: it is not one of our page tokens.
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
        """Close the file unfinished, after an error."""


class _GzipFile:
    """A part of the files flavour: one gzip member, written as a stream."""

    def __init__(self, path: Path) -> None:
        self.lines = 0
        self._file = path.open("wb")
        self._gzip = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
        self._buffer: list[bytes] = []
        self._buffer_bytes = 0

    def add(self, lines: list[bytes]) -> None:
        self.lines += len(lines)
        text = b"\n".join(lines) + b"\n"
        self._buffer.append(text)
        self._buffer_bytes += len(text)
        if self._buffer_bytes >= _CHUNK_BYTES:
            self._write()

    def close(self) -> tuple[tuple[int, int, int], ...]:
        self._write()
        self._file.write(self._gzip.flush())
        self._file.close()
        return ()

    def abandon(self) -> None:
        self._file.close()

    def _write(self) -> None:
        self._file.write(self._gzip.compress(b"".join(self._buffer)))
        self._buffer.clear()
        self._buffer_bytes = 0


class _BlockFile:
    """A part of the pages: blocks of lines, each compressed separately, so that a page can start anywhere."""

    def __init__(self, path: Path) -> None:
        self.lines = 0
        self._file = path.open("wb")
        self._buffer: list[bytes] = []
        self._blocks: list[tuple[int, int, int]] = []

    def add(self, lines: list[bytes]) -> None:
        self.lines += len(lines)
        self._buffer += lines
        while len(self._buffer) >= _BLOCK_LINES:
            self._write(self._buffer[:_BLOCK_LINES])
            del self._buffer[:_BLOCK_LINES]

    def close(self) -> tuple[tuple[int, int, int], ...]:
        if self._buffer:
            self._write(self._buffer)
        self._file.close()
        return tuple(self._blocks)

    def abandon(self) -> None:
        self._file.close()

    def _write(self, lines: list[bytes]) -> None:
        block = zlib.compress(b"\n".join(lines), 1)
        self._blocks.append((self._file.tell(), len(block), len(lines)))
        self._file.write(block)


class _Splitter:
    """Splits records into parts by device group; when a part is full, the group's next one is started.

    A context manager: it closes the files that are still open at its end, which were not finished.
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
        """Finish all files. Returns the parts by group, in the order of their records."""
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
    """One generation's exports on disk, each written when it is first needed."""

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
        """The parts of an inventory, for the files or the pages; both have the same order of records."""
        with self._lock:
            if (inventory, method) not in self._written:
                self._written[inventory, method] = self._write(inventory, method)
            return self._written[inventory, method]

    def written_exports(self) -> tuple[tuple[Inventory, Method], ...]:
        """The exports written so far."""
        with self._lock:
            return tuple(self._written)

    def remove(self) -> None:
        """Delete the files."""
        with self._lock:
            self._written.clear()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, inventory: Inventory, method: Method) -> tuple[ExportPart, ...]:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        writer = RecordWriter(self._fleet, self.number, inventory, camel_case=method is Method.JSON)
        # The id is part of the file names: a generation always has the same names, the next one has others.
        job = uuid.uuid5(uuid.NAMESPACE_OID, f"{self._fleet.seed}/{self.number}/{inventory}")
        with _Splitter(self._folder, job, method, records_of_part_max=self._records_of_part_max) as splitter:
            for device in self._fleet.devices_at(self.number):
                splitter.add(device.group_id, writer.lines(device))
            return splitter.finish()


class Exports:
    """The generations that can be fetched: the current one and a few before it.

    Args:
        fleet: the fleet to export.
        folder: an existing folder, for this object only.
        records_of_part_max: maximum number of records of one part.
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
        """The kept generation that a page token or a file's path names; None where there is none."""
        with self._lock:
            return next((kept for kept in self._kept if kept.time_path == time_path), None)

    def advance(self, generations: int = 1) -> ExportGeneration:
        """Advance by some generations. The exports in use of the current one are written before the switch."""
        with self._advancing:
            current = self.current
            following = self._make(current.number + generations)
            for inventory, method in current.written_exports():
                following.parts(inventory, method)
            with self._lock:
                self._kept.append(following)
                expired, self._kept = self._kept[:-GENERATIONS_KEPT], self._kept[-GENERATIONS_KEPT:]
        for generation in expired:
            generation.remove()
        return following

    def _make(self, number: int) -> ExportGeneration:
        folder = self._folder / f"{number}"
        return ExportGeneration(self.fleet, number, folder, records_of_part_max=self._records_of_part_max)


def read_page(
    parts: Sequence[ExportPart], position: PagePosition, *, records_max: int, cross_parts: bool, empty_after_part: bool
) -> tuple[list[bytes], PagePosition | None]:
    """Read one page from a position on. Returns its records, and the position of the next page, if there is one.

    Args:
        parts: the parts of the pages.
        position: where the page begins.
        records_max: maximum number of records.
        cross_parts: continue the page in the next part; otherwise it ends with the part and may be short.
        empty_after_part: stay at the end of a part, so that the next page is empty.
    """
    records: list[bytes] = []
    part, line = position.part, position.line
    while part < len(parts):
        lines = parts[part].read_lines(line, records_max - len(records))
        records += lines
        line += len(lines)
        if line >= parts[part].lines and not (lines and empty_after_part):
            part, line = part + 1, 0
        if not cross_parts or len(records) >= records_max:
            break
    following = PagePosition(position.time_path, part, line) if part < len(parts) else None
    return records, following
