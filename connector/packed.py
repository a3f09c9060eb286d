"""The text of verified parts: unpacked, cut into lines, and digested where the bytes are.

A line is its bytes as they were received, with its line break; the last line of a text gets one where it has none. It
has a digest of 128 bits, in two halves of 64. What was equal, byte for byte, is recognized by it and need not be parsed
(`diff.engines.lines`). The digest (XXH3) is quick and spreads well; it is no proof against somebody who may choose the
bytes of whole lines.

A part is read in three ways: for its `LineIndex`, where each line begins and its digest, which the engine reads as it
reads any file; for some of its lines, picked by that index; or for all of them. Lines that are handed to the engine
have their digest in front, as two more properties.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from itertools import accumulate, chain
from typing import BinaryIO, Final, Protocol

from connector.errors import SnapshotIncomplete
from connector.model import Part

MAKER: Final = "xxh3 of a line with its break"
"""What a stored digest was made by: that of another maker is worth nothing."""

HALVES: Final = ("mde-inventory line 1", "mde-inventory line 2")
"""The properties that hold a line's digest where it is handed to the engine."""

TAG_BYTES_MAX: Final = 128
"""A line grows by less than this where its digest is put in front."""

BREAK: Final = b"\n"

BLOCK_BYTES: Final = 2**18
PIECE_BYTES: Final = 2**16
GROUP_LINES: Final = 2**16
"""Lines of a row group of an index, which is written once it is that large."""

GZIP_WINDOW: Final = 31
"""zlib's window bits for a gzip header, a checksum and a length."""

Halves = tuple[int, int]
"""A digest: two signed integers of 64 bits."""


class Inflater(Protocol):
    """Unpacks one gzip member, a piece at a time, and checks its checksum."""

    @property
    def eof(self) -> bool:
        """Whether its end was reached."""

    @property
    def unused_data(self) -> bytes:
        """What follows its end."""

    @property
    def unconsumed_tail(self) -> bytes:
        """What is still to be given to it."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Unpack the next piece, to so many bytes at most."""


def inflater() -> Inflater:
    """A new one."""
    # Verbs that read no part do without it, and without the other library here.
    from isal import isal_zlib

    return isal_zlib.decompressobj(wbits=GZIP_WINDOW)


def inflate_error() -> type[Exception]:
    """What an inflater raises on broken data."""
    from isal import isal_zlib

    return isal_zlib.IsalError  # type: ignore[return-value]  # its stub calls the class an instance


def digests_of(lines: Iterable[bytes]) -> array[int]:
    """The digests of some lines: two integers for each."""
    return array("q", _digests(lines))


def _digests(lines: Iterable[bytes]) -> bytes:
    from xxhash import xxh3_128_digest

    return b"".join(map(xxh3_128_digest, lines))


def text_of(part: Part) -> Iterator[bytes]:
    """The text of a verified part in blocks that are cut anywhere.

    Raises:
        SnapshotIncomplete: the file is not as it was verified.
    """
    try:
        with part.path.open("rb") as file:
            if part.path.suffix != ".gz":
                while block := file.read(BLOCK_BYTES):
                    yield block
                return
            yield from _unpack(file)
    except (OSError, EOFError, inflate_error()) as error:
        raise changed_error(part, str(error)) from error


def changed_error(part: Part, reason: str) -> SnapshotIncomplete:
    """The error for a file that is not as it was verified."""
    return SnapshotIncomplete(
        f"a file of the snapshot cannot be read: {part.path}: {reason}",
        hint="Nothing was staged. Is another program changing the staging folder?",
    )


def _unpack(file: BinaryIO) -> Iterator[bytes]:
    member, piece = inflater(), b""
    while piece := piece or file.read(PIECE_BYTES):
        while True:
            block = member.decompress(piece, BLOCK_BYTES)
            piece = member.unconsumed_tail
            if block:
                yield block
            if member.eof or not (piece or len(block) == BLOCK_BYTES):
                break
        if member.eof:
            piece, member = member.unused_data, inflater()
            if not (piece or (piece := file.read(PIECE_BYTES))):
                return
    raise EOFError("it ends in the middle of its gzip data")


def split_lines(text: bytes) -> list[bytes]:
    """Cut a text behind its line breaks; the last piece may have none."""
    # A file's lines are found as fast as memory is read; `split` and `splitlines` look at each byte.
    return BytesIO(text).readlines()


def lines_of(part: Part) -> Iterator[list[bytes]]:
    """The lines of a part, blank ones too, a block at a time.

    Raises:
        SnapshotIncomplete: as `text_of`.
    """
    rest = b""
    for block in text_of(part):
        lines = split_lines(block)
        lines[0] = rest + lines[0]
        rest = b"" if lines[-1].endswith(BREAK) else lines.pop()
        if lines:
            yield lines
    if rest:
        yield [rest + BREAK]


class LineIndex:
    """Writes where each line of a part begins, and its digest: a Parquet file of three columns of 64-bit integers.

    Parquet, since the engine reads it at the speed of memory; so plain a file of it is a few bytes around the numbers.

    Args:
        file: a new file; closed by its owner.

    Attributes:
        lines: added so far, without the blank ones.
    """

    COLUMNS: Final = ("first_half", "second_half", "begin")

    def __init__(self, file: BinaryIO) -> None:
        self.lines = 0
        self._file = file
        self._written = file.write(_MAGIC)
        self._next = 0
        self._begins = array("q")
        self._digests: list[bytes] = []
        self._groups: list[bytes] = []

    def add(self, lines: Sequence[bytes], *, blank: bool) -> None:
        """Add the next lines of the text; `blank` says whether there may be blank ones among them."""
        begins = array("q", accumulate(map(len, lines), initial=self._next))
        self._next = begins.pop()
        if blank:
            kept = [place for place, line in enumerate(lines) if line.strip()]
            lines, begins = [lines[place] for place in kept], array("q", [begins[place] for place in kept])
        self._begins += begins
        self._digests.append(_digests(lines))
        self.lines += len(lines)
        if len(self._begins) >= GROUP_LINES:
            self._write_group()

    def finish(self) -> None:
        """Write what is left, and the end of the file."""
        self._write_group()
        columns = [_struct((1, _INT, 2), (3, _INT, 0), (4, _TEXT, name)) for name in self.COLUMNS]
        root = _struct((4, _TEXT, "lines"), (5, _INT, len(columns)))
        footer = _struct(
            (1, _INT, 1),
            (2, _LIST, (_STRUCT, [root, *columns])),
            (3, _LONG, self.lines),
            (4, _LIST, (_STRUCT, self._groups)),
        )
        self._file.write(footer + len(footer).to_bytes(4, "little") + _MAGIC)

    def _write_group(self) -> None:
        rows = len(self._begins)
        if not rows:
            return
        digests = array("q", b"".join(self._digests))
        chunks, size = [], 0
        for name, column in zip(self.COLUMNS, (digests[0::2], digests[1::2], self._begins), strict=True):
            values = column.tobytes()
            page = _struct(
                (1, _INT, 0),
                (2, _INT, len(values)),
                (3, _INT, len(values)),
                (5, _STRUCT, _struct((1, _INT, rows), (2, _INT, 0), (3, _INT, 3), (4, _INT, 3))),
            )
            length = len(page) + len(values)
            metadata = _struct(
                (1, _INT, 2),
                (2, _LIST, (_INT, [_varint(0)])),
                (3, _LIST, (_TEXT, [_text(name)])),
                (4, _INT, 0),
                (5, _LONG, rows),
                (6, _LONG, length),
                (7, _LONG, length),
                (9, _LONG, self._written),
            )
            chunks.append(_struct((2, _LONG, self._written), (3, _STRUCT, metadata)))
            self._file.write(page + values)
            self._written += length
            size += length
        self._groups.append(_struct((1, _LIST, (_STRUCT, chunks)), (2, _LONG, size), (3, _LONG, rows)))
        self._begins, self._digests = array("q"), []


def all_begin_as_objects(lines: Sequence[bytes]) -> bool:
    """Whether each of some lines begins with a brace."""
    # If the smallest and the largest of them do, all do: no need to look at each.
    return min(lines).startswith(b"{") and max(lines).startswith(b"{")


def index_part(part: Part, file: BinaryIO) -> int:
    """Write the index of a part. Returns the number of its lines.

    Raises:
        SnapshotIncomplete: as `text_of`.
    """
    index = LineIndex(file)
    for lines in lines_of(part):
        index.add(lines, blank=not all_begin_as_objects(lines))
    index.finish()
    return index.lines


def pick_lines(part: Part, begins: Iterable[int]) -> Iterator[bytes]:
    """The lines of a part that begin at these places, in order; where there are any, the file is read to its end.

    Raises:
        SnapshotIncomplete: as `text_of`, or there is no line at one of the places.
    """
    begins = iter(begins)
    if (first := next(begins, None)) is None:
        return
    blocks = text_of(part)
    text, place = b"", 0
    for begin in chain([first], begins):
        while (end := text.find(BREAK, begin - place) if begin - place < len(text) else -1) < 0:
            block = next(blocks, None)
            if block is None:
                break
            kept = text[begin - place :]
            place += len(text) - len(kept)
            text = kept + block
        line = text[begin - place : end + 1] if end >= 0 else text[begin - place :] + BREAK
        if line == BREAK:
            raise changed_error(part, "it is shorter than it was")
        yield line
    for _ in blocks:
        pass


def tagged(lines: Sequence[bytes], tag: Callable[[int, int], Halves]) -> list[bytes]:
    """Lines of JSON objects with their digests in front, as `tag` makes them of the two halves.

    What does not begin as an object is left to the engine as it is.
    """
    one, two = (half.encode() for half in HALVES)
    digests = digests_of(lines)
    tags = map(tag, digests[0::2], digests[1::2])
    return [
        b'{"%b":%d,"%b":%d,%b' % (one, first, two, second, line.lstrip()[1:])
        if line.lstrip().startswith(b"{")
        else line
        for line, (first, second) in zip(lines, tags, strict=True)
    ]


# ---- Parquet: the few structures of Thrift's compact protocol that an index has

_MAGIC: Final = b"PAR1"
_INT, _LONG, _TEXT, _LIST, _STRUCT = 5, 6, 8, 9, 12
_SHORT_LIST: Final = 15

_Value = int | str | bytes | tuple[int, list[bytes]]


def _struct(*fields: tuple[int, int, _Value]) -> bytes:
    """A structure of (number, type, value)."""
    encoded, last = b"", 0
    for number, kind, value in fields:
        encoded += bytes([(number - last) << 4 | kind]) + _value(value)
        last = number
    return encoded + b"\0"


def _value(value: _Value) -> bytes:
    if isinstance(value, int):
        return _varint(value << 1)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return value
    kind, items = value
    size = len(items)
    head = bytes([size << 4 | kind]) if size < _SHORT_LIST else bytes([0xF0 | kind]) + _varint(size)
    return head + b"".join(items)


def _text(text: str) -> bytes:
    return _varint(len(text)) + text.encode("ascii")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
