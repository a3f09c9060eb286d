"""The slow path for a part that cannot be read as it is: rewrites the good lines and sets the bad ones aside.

Used when a part spells a property in two ways, or may do so, has lines that are not objects, or was refused by the
reader; never on the hot path.

A line is good if it is a JSON object and its key can be read, for that says which record it is. An attribute that
cannot be read is null and marked (`UNREADABLE_MARK`); the line stays good. What the reader accepts keeps its meaning,
so that a repair does not change a record: a number or a boolean stands for its text where text is expected, and a
number in quotes for the number. A fraction or a boolean is no number. Stricter than the reader: a line needs a
DeviceId, NaN is not a value, and no value, documented or not, is nested deeper than some hundred levels (a line that
has one is set aside if its part is repaired for another reason). More lenient: of a property given twice the last value
that is not null counts, and undocumented properties may hold anything that keeps the line a JSON object.

A rejected line may still name its device: then nothing but that device is in doubt.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from connector import private_files
from connector.errors import SnapshotIncomplete
from connector.exports.fields import Export, Kind
from connector.model import LINE_BYTES_MAX, UNREADABLE_MARK, Part
from connector.source.lines import UNREADABLE, read_items, read_object, read_value

RAW_BYTES_MAX: Final = 2**14
"""Bytes of a rejected line that are kept for people."""

REJECTED_LINES_MAX: Final = 10_000
"""Rejected lines of a part that are kept; further ones are only counted."""

INTEGER_MAX: Final = 2**63
DIGITS_MAX: Final = 400

_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Repaired:
    """A part that can be read, and the number of lines that this repair set aside."""

    part: Part
    rejected: int


class RejectedLineError(Exception):
    """Says why a line is rejected; never leaves this module."""


def repair(part: Part, export: Export, rejected: Path) -> Repaired:
    """Rewrite the good lines of a part, with the documented properties in camelCase, to a file beside it.

    Args:
        part: a verified part.
        export: what its lines are records of.
        rejected: bad lines are appended to this file, mode 0600: JSON lines of part, line, reason and raw text.

    Raises:
        SnapshotIncomplete: the part's file changed since it was verified.
        StateFull: no space left.
    """
    path = part.path.with_name(f"repaired-{part.path.name.removesuffix('.gz')}")
    lines = bad_lines = size_bytes = 0
    names: dict[str, None] = {}
    devices, unreadable = _RejectedDevices(part, export), Counter(part.unreadable)
    properties = _Properties(export, marked=part.repaired)
    with (
        private_files.translate_errors(rejected),
        private_files.append(rejected) as rejected_file,
        private_files.create(path) as repaired_file,
    ):
        for number, line in _read_lines(part):
            try:
                record, unread = properties.read(line)
            except RejectedLineError as reason:
                bad_lines += 1
                devices.note(line)
                if bad_lines <= REJECTED_LINES_MAX:
                    _set_aside(rejected_file, part, number, str(reason), line)
                continue
            unreadable.update(unread)
            names.update(dict.fromkeys(record))
            size_bytes += repaired_file.write(_written(record, unread))
            lines += 1
    spellings = {name.lower(): (name,) for name in names if name != UNREADABLE_MARK}
    repaired = replace(
        part,
        path=path,
        lines=lines,
        size_bytes=size_bytes,
        spellings=spellings,
        rejected=part.rejected + bad_lines,
        rejected_devices=frozenset(devices.names),
        nameless=devices.nameless,
        unreadable=dict(unreadable),
        repaired=True,
        index=None,
    )
    return Repaired(repaired, bad_lines)


def _written(record: dict[str, bytes], unread: list[str]) -> bytes:
    """The line of a record, marked where attributes could not be read."""
    marks = {UNREADABLE_MARK: json.dumps(unread).encode()} if unread else {}
    return b"{" + b",".join(b'"%b":%b' % (name.encode(), value) for name, value in (record | marks).items()) + b"}\n"


class _RejectedDevices:
    """The devices that rejected lines may be about.

    Only an object names its device: a line that breaks off may be the halves of two records.

    Attributes:
        names: the devices named.
        nameless: lines that do not say what devices they are about.
    """

    def __init__(self, part: Part, export: Export) -> None:
        self.names = set(part.rejected_devices)
        self.nameless = part.nameless
        self._device = export.device.lower()

    def note(self, line: bytes) -> None:
        """Note what a line says of its device."""
        device = self._read_device(line) if len(line) <= LINE_BYTES_MAX else None
        if device is None or len(self.names) == REJECTED_LINES_MAX:
            self.nameless += 1
        else:
            self.names.add(device)

    def _read_device(self, line: bytes) -> str | None:
        """The device of an object that only a lenient reader takes: NaN, half a surrogate pair, control characters."""
        try:
            properties = _LENIENT.decode(line.decode())
        except (ValueError, RecursionError):
            return None
        if not isinstance(properties, _Pairs):
            return None
        devices = [value for name, value in properties if name.lower() == self._device]
        is_known = all(isinstance(device, str) and device == devices[0] for device in devices)
        return devices[0] if devices and is_known and _is_text(devices[0]) else None


def _is_text(value: str) -> bool:
    """Whether a value can be a stored one: it is not empty and has no half of a surrogate pair."""
    return value != "" and not any("\ud800" <= character <= "\udfff" for character in value)


class _Pairs(tuple[tuple[str, Any], ...]):
    """The properties of an object, each as often as it is given."""

    __slots__ = ()


_LENIENT: Final = json.JSONDecoder(strict=False, object_pairs_hook=_Pairs)


def _read_lines(part: Part) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, numbered from 1; of a line that is too long, its beginning."""
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
            f"the file of {part.name} changed after it was verified",
            hint="Nothing was staged. Is another program changing the staging folder?",
        ) from error


class _Properties:
    """Reads the documented properties of lines.

    Args:
        export: what the lines are records of.
        marked: whether the lines were repaired before: they may have marks of ours.
    """

    def __init__(self, export: Export, *, marked: bool) -> None:
        # An alias of a set is one text.
        self._fields = {
            name.lower(): (
                name,
                Kind.TEXT if field.kind is Kind.TEXT_SET and name != field.name else field.kind,
                None if field.key else field.name,
            )
            for field in export.fields
            for name in (field.name, *field.aliases)
        }
        self._device = export.device
        self._mark = UNREADABLE_MARK if marked else None

    def read(self, line: bytes) -> tuple[dict[str, bytes], list[str]]:
        """The documented properties of a line by their camelCase names, each value as JSON that the reader accepts.

        Returns them, with the names of the attributes that cannot be read and are null.

        Raises:
            RejectedLineError: it is no JSON object, or a part of its key cannot be read.
        """
        if len(line) > LINE_BYTES_MAX:
            raise RejectedLineError(f"longer than {LINE_BYTES_MAX} bytes")
        try:
            properties = read_object(line)
        except UNREADABLE as error:
            raise RejectedLineError(_describe(error)) from error
        record: dict[str, bytes] = {}
        unread: dict[str, str] = {}
        for spelled, raw in properties.items():
            name, kind, attribute = self._fields.get(spelled.lower() if spelled.isascii() else "", _UNKNOWN)
            value = bytes(raw)
            if spelled == self._mark:
                record[spelled] = value
            elif name and (value != b"null" or name not in record):
                try:
                    record[name] = _READERS[kind](value)
                except (*UNREADABLE, RejectedLineError) as error:
                    if attribute is None:
                        reason = error if isinstance(error, RejectedLineError) else _describe(error)
                        raise RejectedLineError(f"{name}: {reason}") from error
                    record.setdefault(name, b"null")
                    unread[name] = attribute
        if record.get(self._device, b"null") in (b"null", b'""'):
            raise RejectedLineError(f"no {self._device[0].upper()}{self._device[1:]}")
        return record, sorted({attribute for name, attribute in unread.items() if record[name] == b"null"})


_UNKNOWN: Final = ("", Kind.TEXT, None)


def _read_text(value: bytes) -> bytes:
    if value[:1] not in b"-0123456789":
        read_value(value)
    return value


def _read_texts(value: bytes) -> bytes:
    if value != b"null":
        if not value.startswith(b"["):
            raise RejectedLineError("not an array")
        for item in read_items(value):
            _read_text(item)
    return value


def _read_number(value: bytes) -> bytes:
    if value == b"null":
        return value
    text = value.decode()
    if text.startswith('"'):
        text = str(read_value(value)).strip()
        if not _INTEGER.fullmatch(text):
            raise RejectedLineError("not a whole number")
    if not _INTEGER.fullmatch(text) and (text[:1] not in "-0123456789" or len(text) > DIGITS_MAX):
        raise RejectedLineError("not a number of 64 bits")
    fraction = float(text)
    if not _INTEGER.fullmatch(text) and math.isfinite(fraction) and not fraction.is_integer():
        raise RejectedLineError("not a whole number")
    whole = int(text) if _INTEGER.fullmatch(text) else int(fraction) if math.isfinite(fraction) else INTEGER_MAX
    if not -INTEGER_MAX <= whole < INTEGER_MAX:
        raise RejectedLineError("not a number of 64 bits")
    return str(whole).encode()


_READERS: Final = {
    Kind.TEXT: _read_text,
    Kind.DATE: _read_text,
    Kind.TIMESTAMP: _read_text,
    Kind.NUMBER: _read_number,
    Kind.TEXT_SET: _read_texts,
}


def _describe(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return f"not a JSON object: {error}"


def _set_aside(file: BinaryIO, part: Part, number: int, reason: str, line: bytes) -> None:
    raw = line[:RAW_BYTES_MAX].decode("utf-8", "backslashreplace")
    row = {"part": part.name, "line": number, "reason": reason, "raw": raw, "cut": len(line) > RAW_BYTES_MAX}
    file.write(json.dumps(row).encode("ascii") + b"\n")
