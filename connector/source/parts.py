"""Writes one part to disk and verifies it while it is written, without reading it a second time.

A file of an export is complete if it has its full length, every gzip member unpacks with the right checksum, nothing
follows the last one, and its text is not empty, is not a web page, and ends with a complete line.

A part that is plain gzip of one member is stored as received (`.json.gz`). Any other complete file (several members,
plain text under whatever name, a byte order mark) is stored as plain text (`.json`). Beside it stands the index of its
lines (`.lines`), which the comparison begins with.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from connector import private_files
from connector.errors import SnapshotIncomplete
from connector.model import Part
from connector.packed import Inflater, LineIndex, inflate_error, inflater
from connector.source.lines import LineCounter

MAGIC: Final = b"\x1f\x8b"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
CHUNK_BYTES_MIN: Final = 2**16
"""Pieces from the network are buffered to this size: a TLS record has 16 KiB, and each call costs."""

BLOCK_BYTES_MAX: Final = 2**18
"""Unpacked at most at a time, so that a bomb is noticed before it is in memory."""

RATIO_MAX: Final = 400
"""Real exports shrink by 10 to 40; beyond this factor a file is a bomb."""

RATIO_FREE_BYTES: Final = 2**24
"""Unpacked bytes below which the ratio is not checked: a few equal lines shrink very well."""

UNPACKED_BYTES_MAX: Final = 2**36
"""64 GiB: more than a hundred million records in one part."""

HEAD_BYTES_MAX: Final = 2**16
"""Leading blanks that are skipped at most to find the first character."""


class Gunzip:
    """Unpacks gzip members one after the other, within limits.

    Args:
        name: the file's name in errors.

    Attributes:
        members: members started so far.
    """

    def __init__(self, name: str) -> None:
        self.members = 0
        self._name = name
        self._member: Inflater | None = None
        self._between = b""
        self._packed_bytes = 0
        self._unpacked_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Unpack the next piece of the file, which may be cut anywhere.

        Raises:
            SnapshotIncomplete: a wrong checksum, broken data, garbage between or after members, or a bomb.
        """
        self._packed_bytes += len(chunk)
        while chunk or self._member is not None:
            if self._member is None:
                chunk = self._begin(chunk)
                continue
            try:
                block = self._member.decompress(chunk, BLOCK_BYTES_MAX)
            except inflate_error() as error:
                raise part_error(self._name, f"its gzip data is broken: {error}") from error
            self._measure(len(block))
            if block:
                yield block
            if self._member.eof:
                chunk, self._member = self._member.unused_data, None
            else:
                chunk = self._member.unconsumed_tail
                if not chunk and len(block) < BLOCK_BYTES_MAX:
                    return

    def finish(self) -> None:
        """End the file.

        Raises:
            SnapshotIncomplete: a member is not complete.
        """
        if self._member is not None or (self._between and self._between in MAGIC):
            raise part_error(self._name, "it ends in the middle of its gzip data")
        if self._between:
            raise part_error(self._name, "garbage follows its gzip data")

    def _begin(self, chunk: bytes) -> bytes:
        head = self._between + chunk
        if len(head) >= len(MAGIC):
            if not head.startswith(MAGIC):
                raise part_error(self._name, "garbage follows its gzip data")
            self._between = b""
            self._member = inflater()
            self.members += 1
            return head
        self._between = head
        return b""

    def _measure(self, size: int) -> None:
        self._unpacked_bytes += size
        ratio_exceeded = (
            self._unpacked_bytes > RATIO_FREE_BYTES and self._unpacked_bytes > RATIO_MAX * self._packed_bytes
        )
        if ratio_exceeded or self._unpacked_bytes > UNPACKED_BYTES_MAX:
            raise part_error(
                self._name, f"{self._packed_bytes} bytes of it unpack to more than {self._unpacked_bytes}: a gzip bomb"
            )


class PartWriter:
    """Writes one part to disk and verifies it. A context manager: if the part is not finished, nothing remains.

    Args:
        folder: mode 0700.
        stem: the local file name without its extension; never a remote name.
        name: the remote file's name, for people.
        documented: names of the export's properties, in lower case.
        encoded: whether the response says `Content-Encoding: gzip`, a compression on top of the file's.
        chunk_bytes_min: pieces are buffered to this size before they are unpacked.

    Attributes:
        wire_bytes: received so far.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        name: str,
        documented: Collection[str],
        *,
        encoded: bool = False,
        chunk_bytes_min: int = CHUNK_BYTES_MIN,
    ) -> None:
        self.wire_bytes = 0
        self._path = folder / stem
        self._name = name
        self._draft = folder / f"{stem}.draft"
        self._file = private_files.create(self._draft)
        self._digest = hashlib.sha256()
        self._index_draft = folder / f"{stem}.lines.draft"
        self._index_file = private_files.create(self._index_draft)
        self._index = LineIndex(self._index_file)
        self._counter = LineCounter(documented, self._index)
        self._outer = Gunzip(name) if encoded else None
        self._inner: Gunzip | None = None
        self._buffer: list[bytes] = []
        self._buffer_bytes = 0
        self._chunk_bytes_min = chunk_bytes_min
        self._packed = b""
        self._decided = False
        self._head: bytes | None = b""
        self._is_text = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Closing writes the rest, which may not fit; whatever fails, all of it is done.
        with ExitStack() as stack:
            for draft, file in ((self._draft, self._file), (self._index_draft, self._index_file)):
                stack.callback(draft.unlink, missing_ok=True)
                stack.callback(file.close)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of everything received."""
        return self._digest.hexdigest()

    def feed(self, chunk: bytes) -> None:
        """Write the next piece from the network, which may be cut anywhere.

        Raises:
            SnapshotIncomplete: it cannot become a complete part any more.
            OSError: it cannot be written.
        """
        self.wire_bytes += len(chunk)
        if self.wire_bytes > UNPACKED_BYTES_MAX:
            raise part_error(self._name, f"it is longer than {UNPACKED_BYTES_MAX} bytes")
        self._digest.update(chunk)
        self._buffer.append(chunk)
        self._buffer_bytes += len(chunk)
        if self._buffer_bytes >= self._chunk_bytes_min:
            self._flush_buffer()

    def finish(self, expected_bytes: int | None = None) -> Part:
        """End the part and give its file the final name.

        Args:
            expected_bytes: the response's `Content-Length`.

        Raises:
            SnapshotIncomplete: it is not complete.
            OSError: it cannot be written.
        """
        if expected_bytes is not None and self.wire_bytes != expected_bytes:
            raise part_error(self._name, f"{self.wire_bytes} of its {expected_bytes} bytes were received")
        if not self.wire_bytes:
            raise part_error(self._name, "it is empty")
        self._flush_buffer()
        if self._outer is not None:
            self._outer.finish()
        self._decide(final=True)
        if self._inner is not None:
            self._inner.finish()
        self._read(b"", final=True)
        if not self._counter.finish():
            raise part_error(self._name, "its last line is cut off")
        if not self._counter.lines:
            raise part_error(self._name, "it has no lines")
        index = self._finish_index()
        self._file.flush()
        os.fsync(self._file.fileno())
        path = self._path.with_name(self._path.name + (".json" if self._is_text else ".json.gz"))
        self._draft.replace(path)
        counter = self._counter
        return Part(path, self._name, counter.lines, counter.size_bytes, counter.spellings, index=index)

    @property
    def odd(self) -> bool:
        """Whether the part has lines that only `repair` can read."""
        return self._counter.odd

    def _finish_index(self) -> Path | None:
        """End the index of the lines, and give it its name; None where the part has to be written again."""
        if self._counter.odd:
            return None
        self._index.finish()
        self._index_file.flush()
        os.fsync(self._index_file.fileno())
        path = index_path(self._path.parent, self._path.name)
        self._index_draft.replace(path)
        return path

    def _flush_buffer(self) -> None:
        chunk = b"".join(self._buffer)
        self._buffer, self._buffer_bytes = [], 0
        for piece in (chunk,) if self._outer is None else self._outer.feed(chunk):
            self._take(piece)

    def _take(self, piece: bytes) -> None:
        """Take a piece of the file itself, whose first bytes show whether it is gzip."""
        if not self._decided:
            self._packed += piece
            self._decide(final=False)
        elif self._inner is None:
            self._read(piece)
        else:
            self._unpack(piece)

    def _decide(self, *, final: bool) -> None:
        if self._decided or (len(self._packed) < len(MAGIC) and not final):
            return
        self._decided = True
        piece, self._packed = self._packed, b""
        if piece.startswith(MAGIC):
            self._inner = Gunzip(self._name)
            self._unpack(piece)
        else:
            self._is_text = True
            self._read(piece)

    def _unpack(self, piece: bytes) -> None:
        inner = self._inner
        assert inner is not None  # noqa: S101 - created by `_decide`
        if not self._is_text:
            self._file.write(piece)
        for block in inner.feed(piece):
            if inner.members > 1 and not self._is_text:
                self._store_as_text()
            self._read(block)
        if inner.members > 1 and not self._is_text:
            self._store_as_text()

    def _read(self, block: bytes, *, final: bool = False) -> None:
        """Count and store a block of the text, which may begin with a byte order mark, or be a web page."""
        if self._head is not None:
            self._head += block
            if not (final or len(self._head) > HEAD_BYTES_MAX or self._head[len(BYTE_ORDER_MARK) :].strip()):
                return
            block, self._head = self._head, None
            if block.startswith(BYTE_ORDER_MARK):
                block = block[len(BYTE_ORDER_MARK) :]
                if not self._is_text:
                    self._store_as_text()
            if block.lstrip().startswith(b"<"):
                raise part_error(self._name, "it is a web page or an XML error, not lines of JSON")
        if block:
            self._counter.feed(block)
            if self._is_text:
                self._file.write(block)

    def _store_as_text(self) -> None:
        """Store plain text from now on: replace the packed bytes stored so far by what they unpack to."""
        packed, self._file = self._file, private_files.create(self._draft)
        self._is_text = True
        missing = self._counter.size_bytes
        gunzip = Gunzip(self._name)
        with packed:
            packed.seek(0)
            while missing:
                for block in gunzip.feed(packed.read(BLOCK_BYTES_MAX)):
                    self._file.write(block[:missing])
                    missing -= min(len(block), missing)


def index_path(folder: Path, stem: str) -> Path:
    """Where the index of a part's lines is."""
    return folder / f"{stem}.lines"


def part_error(name: str, reason: str) -> SnapshotIncomplete:
    """The error for a file that is not complete."""
    return SnapshotIncomplete(
        f"the file {name} cannot be used: {reason}",
        hint="Nothing was staged. The next poll fetches the snapshot again.",
    )
