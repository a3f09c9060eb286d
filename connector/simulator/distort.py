"""Applies faults to records, lines and bytes. Pure functions.

Records are parsed, distorted and written again one by one, which is slow and only done on request. Random choices use a
fixed seed, so that the same fault gives the same bytes.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Final

from connector.simulator.faults import Fault, FaultKind
from connector.simulator.fleet.layouts import pascal

_GZIP: Final = 31
_MARK: Final = "\ufeff".encode()
_MALFORMED: Final = b'{"DeviceId":"0000000000000000000000000000000000000000","SoftwareName":"half a li'
_RUBBISH: Final = b"\x00\x01rubbish after the stream"
_MEMBERS: Final = 3
_BLANKS: Final = b" " * (1 << 20)

_RECORDS: Final = {
    FaultKind.MALFORMED_LINE: lambda lines, _: [*lines[: len(lines) // 2], _MALFORMED, *lines[len(lines) // 2 :]],
    FaultKind.EXTRA_LINES: lambda lines, fault: [
        *lines,
        *(line.encode("utf-8", "surrogatepass") for line in fault.lines),
    ],
    FaultKind.DUPLICATE_ROWS: lambda lines, fault: lines + _draw(lines, fault.share),
    FaultKind.CONFLICTING_ROWS: lambda lines, fault: lines + _change_each(_draw(lines, fault.share), _move_group),
    FaultKind.SHUFFLED_ROWS: lambda lines, _: _draw(lines, 1.0),
    FaultKind.FEWER_RECORDS: lambda lines, fault: _draw(lines, 1.0 - fault.share),
    FaultKind.ZERO_RECORDS: lambda _, __: [],
    FaultKind.OTHER_CASE: lambda lines, _: _change_each(lines, _swap_case),
    FaultKind.OS_PLATFORM_CASE: lambda lines, _: [line.replace(b'"OSPlatform"', b'"OsPlatform"') for line in lines],
    FaultKind.ARRAYS_NULL: lambda lines, _: _change_each(lines, lambda record: _write_empty_arrays(record, None)),
    FaultKind.ARRAYS_EMPTY: lambda lines, _: _change_each(lines, lambda record: _write_empty_arrays(record, [])),
    FaultKind.ARRAYS_ABSENT: lambda lines, _: _change_each(lines, _drop_empty_arrays),
    FaultKind.SHUFFLED_PATHS: lambda lines, _: _change_each(lines, _shuffle_paths),
}
_BYTES: Final = frozenset(
    {
        FaultKind.SHORT_GZIP,
        FaultKind.CRC_ERROR,
        FaultKind.TRAILING_RUBBISH,
        FaultKind.PLAIN_TEXT,
        FaultKind.CONTENT_ENCODING,
        FaultKind.BYTE_ORDER_MARK,
        FaultKind.SEVERAL_MEMBERS,
        FaultKind.GZIP_BOMB,
        FaultKind.MISSING_LAST_NEWLINE,
        FaultKind.LAST_LINE_CUT,
    }
)


def distorts_records(faults: Iterable[Fault]) -> bool:
    """Whether one of the faults changes records."""
    return any(fault.kind in _RECORDS for fault in faults)


def distorts_files(faults: Iterable[Fault]) -> bool:
    """Whether one of the faults changes a file's lines or bytes."""
    return any(fault.kind in _RECORDS or fault.kind in _BYTES for fault in faults)


def distort_records(lines: list[bytes], faults: Iterable[Fault]) -> list[bytes]:
    """Apply faults to lines of one record each, without newlines."""
    for fault in faults:
        distort: Callable[[list[bytes], Fault], list[bytes]] | None = _RECORDS.get(fault.kind)
        if distort:
            lines = distort(lines, fault)
    return lines


def file_body(lines: list[bytes], faults: tuple[Fault, ...]) -> bytes:
    """The bytes of a file of these lines, after applying the faults."""
    kinds = {fault.kind: fault for fault in faults}
    lines = distort_records(lines, faults)
    text = b"".join(line + b"\n" for line in lines)
    if FaultKind.MISSING_LAST_NEWLINE in kinds:
        text = text.removesuffix(b"\n")
    if FaultKind.LAST_LINE_CUT in kinds:
        text = text[: -(len(lines[-1]) // 2 + 1)] if lines else text
    if FaultKind.BYTE_ORDER_MARK in kinds:
        text = _MARK + text
    if FaultKind.PLAIN_TEXT in kinds:
        return text
    if FaultKind.GZIP_BOMB in kinds:
        return _make_bomb(text, kinds[FaultKind.GZIP_BOMB].size_bytes)
    body = _compress_members(text, _MEMBERS if FaultKind.SEVERAL_MEMBERS in kinds else 1)
    if FaultKind.SHORT_GZIP in kinds:
        body = body[: len(body) * 2 // 3]
    if FaultKind.CRC_ERROR in kinds:
        body = body[:-8] + bytes((body[-8] ^ 0xFF,)) + body[-7:]
    if FaultKind.TRAILING_RUBBISH in kinds:
        body += _RUBBISH
    return body


def _compress_members(text: bytes, count: int) -> bytes:
    """Compress a text into `count` gzip members, cut anywhere, as a writer that flushes does."""
    size = len(text) // count + 1
    return b"".join(_compress(text[start : start + size]) for start in range(0, max(1, len(text)), size))


def _compress(text: bytes) -> bytes:
    stream = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
    return stream.compress(text) + stream.flush()


def _make_bomb(text: bytes, size_bytes: int) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    body = [stream.compress(text)]
    body += [stream.compress(_BLANKS) for _ in range(size_bytes // len(_BLANKS))]
    return b"".join([*body, stream.compress(b"\n"), stream.flush()])


def _draw(lines: list[bytes], share: float) -> list[bytes]:
    draw = random.Random(len(lines))  # noqa: S311 - which records is no secret
    return draw.sample(lines, round(len(lines) * share))


def _change_each(lines: list[bytes], change: Callable[[dict[str, Any]], dict[str, Any]]) -> list[bytes]:
    return [json.dumps(change(json.loads(line)), ensure_ascii=False, separators=(",", ":")).encode() for line in lines]


def _move_group(record: dict[str, Any]) -> dict[str, Any]:
    group = {"rbacGroupId": 77, "rbacGroupName": "Moved"}
    return {**record, **{pascal(name) if "DeviceId" in record else name: value for name, value in group.items()}}


def _swap_case(record: dict[str, Any]) -> dict[str, Any]:
    to_camel = "DeviceId" in record
    return {_camel(name) if to_camel else pascal(name): value for name, value in record.items()}


def _camel(name: str) -> str:
    return f"os{name[2:]}" if name.startswith("OS") else name[0].lower() + name[1:]


def _is_paths(name: str) -> bool:
    return name.lower() in ("diskpaths", "registrypaths")


def _write_empty_arrays(record: dict[str, Any], empty: list[str] | None) -> dict[str, Any]:
    """Write every empty array as `empty`, whether it was there or not."""
    names = ("DiskPaths", "RegistryPaths") if "DeviceId" in record else ("diskPaths", "registryPaths")
    return {**record, **{name: empty for name in names if not record.get(name) and _has_arrays(record)}}


def _has_arrays(record: dict[str, Any]) -> bool:
    """The non-CPE records have one registry path, not an array."""
    return not any(name.lower() == "softwarelastseentimestamp" for name in record)


def _drop_empty_arrays(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value or not _is_paths(name)}


def _shuffle_paths(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [*reversed(value), *value[:1]] if _is_paths(name) and value else value for name, value in record.items()
    }
