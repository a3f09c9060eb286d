"""Lines of JSON: counts them, notes how they spell their properties, and splits a page into them.

On the hot path no record becomes a Python object: text is cut at line breaks, and only a sample of the lines is parsed,
for the names of their properties.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Self

import msgspec

from connector import packed
from connector.errors import SourceMalformed
from connector.model import LINE_BYTES_MAX, SAMPLE_WHOLE_BYTES
from connector.packed import BREAK, LineIndex

UNREADABLE: Final = (ValueError, RecursionError)
"""What msgspec raises on text that is not JSON, not UTF-8, or nested too deep."""

SAMPLE_EVERY_BYTES: Final = 2**16
"""Beyond `SAMPLE_WHOLE_BYTES`, one line in this many bytes is inspected."""

BLOCK_LINES: Final = 4096
"""Lines of a page that are joined at a time."""

_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_ANY: Final = msgspec.json.Decoder()


def read_object(line: bytes | memoryview) -> dict[str, msgspec.Raw]:
    """The properties of a JSON object, their values unparsed. Of a repeated name the last one counts.

    Raises:
        ValueError: it is not one JSON object.
        RecursionError: it is nested too deep.
    """
    return _OBJECT.decode(line)


def read_items(array: bytes) -> list[bytes]:
    """The items of a JSON array, unparsed. Raises as `read_object` does."""
    return [bytes(item) for item in _ITEMS.decode(array)]


def read_value(value: bytes) -> object:
    """A JSON value as a Python one; strings must be UTF-8 without lone surrogates. Raises as `read_object` does."""
    return _ANY.decode(value)


def is_object(line: bytes) -> bool:
    """Whether a line is one complete JSON object."""
    try:
        read_object(line)
    except UNREADABLE:
        return False
    return True


class LineCounter:
    """Counts the lines of a part while it is written, and notes how they spell the documented properties.

    Args:
        documented: names of the export's properties, in lower case.
        index: takes every line, whole; one of a part that is `odd` is good for nothing.

    Attributes:
        lines: complete lines that are not blank.
        size_bytes: of all text.
        odd: whether a line does not begin with `{`, or is longer than `LINE_BYTES_MAX`: the part needs `repair`.
    """

    def __init__(self, documented: Collection[str], index: LineIndex | None = None) -> None:
        self._documented = documented
        self._index = index
        self.lines = 0
        self.size_bytes = 0
        self.odd = False
        self._spellings: dict[str, dict[str, None]] = {}
        self._known: dict[str, str | None] = {}
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._next_sample = 0

    @property
    def spellings(self) -> Mapping[str, tuple[str, ...]]:
        """Spellings seen of each documented name, by its lower-case form, in the order they appeared."""
        return {name: tuple(spelled) for name, spelled in self._spellings.items()}

    def feed(self, block: bytes) -> None:
        """Count the next piece of the text, which may be cut anywhere."""
        begin = self.size_bytes
        self.size_bytes += len(block)
        lines = packed.split_lines(block)
        rest = lines.pop() if lines and not block.endswith(BREAK) else b""
        if lines:
            if self._rest:
                self._keep(lines[0])
                lines[0] = b"".join(self._rest)
                self._rest, self._rest_bytes = [], 0
            self._count(lines)
            self._sample(lines, begin)
        if rest:
            self._keep(rest)

    def finish(self) -> bool:
        """End the text. Returns whether its end is complete: a line break, or a complete object."""
        last = b"".join(self._rest)
        self._rest = []
        if not last.strip():
            return True
        self.lines += 1
        self._note(last)
        self._add([last + BREAK], blank=False)
        return self._rest_bytes <= LINE_BYTES_MAX and is_object(last)

    def _keep(self, piece: bytes) -> None:
        """Keep a piece of a line that continues; of a line that is too long to read, only its beginning."""
        self._rest_bytes += len(piece) - piece.endswith(BREAK)
        if self._rest_bytes <= LINE_BYTES_MAX:
            self._rest.append(piece)
        else:
            self.odd = True
            self._rest = [self._rest[0][:1] or b"{"] if self._rest else [piece[:1]]

    def _count(self, lines: list[bytes]) -> None:
        if packed.all_begin_as_objects(lines):
            self.lines += len(lines)
            self._add(lines, blank=False)
            return
        self._add(lines, blank=True)
        stripped = [text for line in lines if (text := line.strip())]
        self.lines += len(stripped)
        self.odd = self.odd or not all(text.startswith(b"{") for text in stripped)

    def _add(self, lines: list[bytes], *, blank: bool) -> None:
        if self._index is not None and not self.odd:
            self._index.add(lines, blank=blank)

    def _sample(self, lines: list[bytes], begin: int) -> None:
        """Note all lines of the beginning, then one line every `SAMPLE_EVERY_BYTES`."""
        if begin < SAMPLE_WHOLE_BYTES:
            for line in lines:
                self._note(line)
            self._next_sample = self.size_bytes
        elif self.size_bytes >= self._next_sample:
            due = 1 + (self.size_bytes - self._next_sample) // SAMPLE_EVERY_BYTES
            for line in lines[:: max(len(lines) // due, 1)]:
                self._note(line)
            self._next_sample = self.size_bytes + SAMPLE_EVERY_BYTES

    def _note(self, line: bytes) -> None:
        try:
            names = read_object(line)
        except UNREADABLE:
            return  # `repair` or the reader will report it
        for name in names:
            if name not in self._known:
                self._learn(name)

    def _learn(self, name: str) -> None:
        documented = name.lower() if name.isascii() and name.lower() in self._documented else None
        if documented is not None:
            self._spellings.setdefault(documented, {})[name] = None
        if documented is not None or len(self._known) < len(self._documented) * 64:
            self._known[name] = documented


ENVELOPE_NAMES: Final = {
    "value": "value",
    "@odata.nextlink": "nextLink",
    "nextlink": "nextLink",
    "exportfiles": "exportFiles",
    "generatedtime": "generatedTime",
}
"""The documented properties of an envelope, by the lower-case spellings that are accepted."""

_LINK: Final = msgspec.json.Decoder(str)


def read_envelope(text: bytes | bytearray) -> dict[str, msgspec.Raw]:
    """The documented properties of a page or a listing that are not null, their values unparsed.

    Names are read without regard to case, as those of records are: Microsoft's own table spells them `ExportFiles` and
    `GeneratedTime`. A property that is missed is worse than one that is refused: a page whose nextLink is not
    recognized looks like the last one.

    Raises:
        ValueError: it is not one JSON object, or two spellings of one property disagree.
        RecursionError: it is nested too deep.
    """
    envelope: dict[str, msgspec.Raw] = {}
    for name, value in _OBJECT.decode(text).items():
        documented = ENVELOPE_NAMES.get(name.lower()) if name.isascii() else None
        if documented is None or bytes(memoryview(value)[:5]) == b"null":
            continue
        if documented in envelope and memoryview(envelope[documented]) != memoryview(value):
            raise ValueError(f"it has {documented} twice, with different values")
        envelope[documented] = value
    return envelope


def _read_page(text: bytes | bytearray) -> tuple[list[msgspec.Raw], str | None]:
    """The records of a page, unparsed, and its nextLink. Raises as `read_envelope` does."""
    envelope = read_envelope(text)
    if "value" not in envelope:
        raise ValueError("it has no value")
    return _ITEMS.decode(envelope["value"]), _LINK.decode(envelope["nextLink"]) if "nextLink" in envelope else None


class Page:
    """One JSON page, split into lines.

    Attributes:
        records: number of lines.
        next_link: URL of the next page, byte for byte; None on the last page.
    """

    def __init__(self, values: Sequence[msgspec.Raw | bytes], next_link: str | None) -> None:
        self.records = len(values)
        self.next_link = next_link
        self._values = values

    @classmethod
    def read(cls, text: bytes | bytearray) -> Self:
        """Read a page.

        A page with a value that is not JSON (NaN, half a surrogate pair) is split nevertheless, as long as its brackets
        and strings close: the bad line alone is rejected later.

        Raises:
            SourceMalformed: it is not a page, or not complete.
        """
        try:
            values, next_link = _read_page(text)
        except UNREADABLE as error:
            pieces = _split_loosely(bytes(text))
            if pieces is None:
                raise SourceMalformed(
                    f"a page of {len(text)} bytes is not what the API documents: {_describe(error)}",
                    hint="The next poll tries again. Does a proxy change responses?",
                ) from error
            return cls(*pieces)
        return cls(values, next_link)

    def blocks(self) -> Iterator[bytes]:
        """The lines, up to `BLOCK_LINES` at a time, each with its line break."""
        values = iter(self._values)
        while chunk := list(islice(values, BLOCK_LINES)):
            block = b"\n".join(chunk) + b"\n"
            if block.count(b"\n") != len(chunk):
                # A record spans several lines. JSON strings contain no line breaks; elsewhere they are blanks.
                block = b"\n".join(bytes(value).translate(_BLANKS) for value in chunk) + b"\n"
            yield block


_BLANKS: Final = bytes.maketrans(b"\r\n", b"  ")
_INSIDE: Final = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
"""What a string contains. Possessive: going back would take memory for each byte, and find nothing."""
_TOKEN: Final = re.compile(rb'"' + _INSIDE + rb'"?+|[{}\[\],]', re.DOTALL)
"""A string, which the end of the text may cut, or a mark."""
_VALUE: Final = re.compile(
    rb'\s*\{(?:\s*(?:"[^"\\]*"\s*:\s*(?:"' + _INSIDE + rb'"|null))\s*,)*?\s*"(?i:value)"\s*:\s*\[', re.DOTALL
)


def _split_loosely(text: bytes) -> tuple[list[bytes], str | None] | None:
    """Split a page by its brackets and strings alone; None where they do not close, or the rest of it is not JSON."""
    start = _VALUE.match(text)
    if start is None:
        return None
    values: list[bytes] = []
    depth, begin = 0, start.end()
    for token in _TOKEN.finditer(text, start.end()):
        mark = token.group()
        if mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
        if (mark == b"," and depth == 0) or depth < 0:
            values.append(text[begin : token.start()].strip())
            begin = token.end()
        if depth < 0:
            break
    else:
        return None
    try:
        # One null stands for the records, so that a second list under another spelling still disagrees.
        _, next_link = _read_page(text[: start.end()] + b"null]" + text[begin:])
    except UNREADABLE:
        return None
    lines = [] if values == [b""] else values
    return (lines, next_link) if all(lines) else None


def _describe(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
