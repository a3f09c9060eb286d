"""The slow path for a part that cannot be read as it is: line by line, the good ones rewritten, the bad ones set aside.

Owns what makes a line bad, and the rejected file. Used when a part spells a property in two ways, or seems to, has
lines that are no objects, or was refused by the reader; never on the hot path.

What counts as readable is what the reader takes, with the same meaning, so that a record does not change by passing
through here: a number or a boolean stands for its text where text is expected, a number in quotes for the number, and a
fraction is rounded to the nearest even whole number. Stricter only in this: a line needs a DeviceId, NaN is no value,
a number in quotes has plain decimal digits, and no value, documented or not, is nested deeper than some hundred levels
(a line that has one is set aside where its part comes here for another). More lenient in this: of a property given
twice the last value that is not null counts, and undocumented properties may hold anything that keeps the line a JSON
object.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from connector import private_files
from connector.errors import SnapshotIncomplete
from connector.exports.fields import Kind
from connector.exports.software import SOFTWARE
from connector.model import LINE_BYTES_MAX, Part
from connector.source.lines import UNREADABLE, read_items, read_object, read_value

RAW_BYTES_MAX: Final = 2**14
"""So much of a rejected line is kept for people."""

REJECTED_LINES_MAX: Final = 10_000
"""So many rejected lines of a part are kept; beyond, they are only counted."""

INTEGER_MAX: Final = 2**63
DIGITS_MAX: Final = 400

_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")

PROPERTIES: Final[dict[str, tuple[str, Kind]]] = {
    name.lower(): (name, Kind.TEXT if field.kind is Kind.TEXT_SET and name != field.name else field.kind)
    for field in SOFTWARE.fields
    for name in (field.name, *field.aliases)
}
"""Lower-case name of each documented property: its camelCase name, and what is read. An alias of a set is one text."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """A part that can be read, and how many lines were set aside for it, in this repair."""

    part: Part
    rejected: int


class Bad(Exception):
    """Why a line is rejected."""


def repair(part: Part, rejected: Path) -> Repaired:
    """Write the good lines of a part anew, with the documented properties in camelCase, beside the part itself.

    Args:
        part: verified.
        rejected: bad lines are added to this file, mode 0600: JSON lines with part, line, reason and the line itself.

    Raises:
        SnapshotIncomplete: the part's file is not what was verified.
        StateFull: no space left.
    """
    path = part.path.with_name(f"repaired-{part.path.name.removesuffix('.gz')}")
    lines = bad = size = 0
    names: dict[str, None] = {}
    with (
        private_files.translated(rejected),
        private_files.append(rejected) as aside,
        private_files.create(path) as good,
    ):
        for number, line in _lines(part):
            try:
                record = _record(line)
            except Bad as reason:
                bad += 1
                if bad <= REJECTED_LINES_MAX:
                    _set_aside(aside, part, number, str(reason), line)
                continue
            text = b"{" + b",".join(b'"%b":%b' % (name.encode(), value) for name, value in record.items()) + b"}\n"
            good.write(text)
            names.update(dict.fromkeys(record))
            lines, size = lines + 1, size + len(text)
    spellings = {name.lower(): (name,) for name in names}
    return Repaired(replace(part, path=path, lines=lines, size_bytes=size, spellings=spellings,
                            rejected=part.rejected + bad, repaired=True), bad)  # fmt: skip


def _lines(part: Part) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1. Of one that is too long, its beginning."""
    try:
        with gzip.open(part.path) if part.path.suffix == ".gz" else part.path.open("rb") as file:
            number = 0
            while line := file.readline(LINE_BYTES_MAX + 1):
                number += 1
                piece = line
                while not piece.endswith(b"\n") and (piece := file.readline(LINE_BYTES_MAX)):
                    continue
                if line.strip():
                    yield number, line.strip(b"\n")
    except (EOFError, gzip.BadGzipFile, zlib.error, FileNotFoundError) as error:
        raise SnapshotIncomplete(
            f"{part.name}: its file is not the one that was verified",
            hint="Nothing was staged. Is another program changing the staging folder?",
        ) from error


def _record(line: bytes) -> dict[str, bytes]:
    """The documented properties of a line by their camelCase names, each value as JSON that the reader takes."""
    if len(line) > LINE_BYTES_MAX:
        raise Bad(f"longer than {LINE_BYTES_MAX} bytes")
    try:
        found = read_object(line)
    except UNREADABLE as error:
        raise Bad(_why(error)) from error
    record: dict[str, bytes] = {}
    for spelled, raw in found.items():
        name, kind = PROPERTIES.get(spelled.lower() if spelled.isascii() else "", ("", Kind.TEXT))
        value = bytes(raw)
        if name and (value != b"null" or name not in record):
            try:
                record[name] = _READERS[kind](value)
            except UNREADABLE as error:
                raise Bad(f"{name}: {_why(error)}") from error
            except Bad as reason:
                raise Bad(f"{name}: {reason}") from reason
    if record.get("deviceId", b"null") in (b"null", b'""'):
        raise Bad("no DeviceId")
    return record


def _text(value: bytes) -> bytes:
    if value[:1] not in b"-0123456789":
        read_value(value)
    return value


def _texts(value: bytes) -> bytes:
    if value != b"null":
        if not value.startswith(b"["):
            raise Bad("not an array")
        for item in read_items(value):
            _text(item)
    return value


def _number(value: bytes) -> bytes:
    if value in (b"null", b"true", b"false"):
        return {b"null": b"null", b"true": b"1", b"false": b"0"}[value]
    text = value.decode()
    if text.startswith('"'):
        text = str(read_value(value)).strip()
        if not _INTEGER.fullmatch(text):
            raise Bad("not a whole number")
    if not _INTEGER.fullmatch(text) and (text[:1] not in "-0123456789" or len(text) > DIGITS_MAX):
        raise Bad("not a number of 64 bits")
    fraction = float(text)
    whole = int(text) if _INTEGER.fullmatch(text) else round(fraction) if math.isfinite(fraction) else INTEGER_MAX
    if not -INTEGER_MAX <= whole < INTEGER_MAX:
        raise Bad("not a number of 64 bits")
    return str(whole).encode()


_READERS: Final = {
    Kind.TEXT: _text,
    Kind.DATE: _text,
    Kind.TIMESTAMP: _text,
    Kind.NUMBER: _number,
    Kind.TEXT_SET: _texts,
}


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return f"not a JSON object: {error}"


def _set_aside(file: BinaryIO, part: Part, number: int, reason: str, line: bytes) -> None:
    raw = line[:RAW_BYTES_MAX].decode("utf-8", "backslashreplace")
    row = {"part": part.name, "line": number, "reason": reason, "raw": raw, "cut": len(line) > RAW_BYTES_MAX}
    file.write(json.dumps(row).encode("ascii") + b"\n")
