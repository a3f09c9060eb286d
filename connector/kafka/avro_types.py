"""Whether a record fits its Avro schema, why not where it does not, and how it is shortened to fit a Kafka message.

Owns the strictness that fastavro lacks, the rule of shortening, and the length of keys. Must not know how anything is
encoded: schemas are plain JSON here, and no library is imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from connector.clock import milliseconds_of

Schema = dict[str, Any]


TIME_RANGE: Final = tuple(
    milliseconds_of(moment) for moment in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
)
"""Milliseconds from the year 1 to the last day of 9999: what every consumer's calendar can show."""
INT_RANGE: Final = (-(2**31), 2**31 - 1)
LONG_RANGE: Final = (-(2**63), 2**63 - 1)

PYTHON_TYPES: Final = {"boolean": bool, "int": int, "long": int, "array": list}
"""The types for which fastavro silently converts whatever it is given."""

TEXT_BYTES_STEPS: Final = tuple(65_536 >> step for step in range(9))
"""What a text is cut to, step by step until the message fits: 64 KiB, which is what a SIEM's column holds, to 256."""
TEXTS_OF_ARRAY: Final = 4
"""An array keeps its first items, up to this many times the length of a text."""

KEY_PART_BYTES_MAX: Final = 256
SHOWN_CHARACTERS_MAX: Final = 80
ELLIPSIS: Final = "…"


class Shape:
    """What fastavro does not look at in a record, and what it would look at slowly.

    Args:
        schema: of a record, with full names, and without references to types named elsewhere.
    """

    def __init__(self, schema: Schema) -> None:
        types = {field["name"]: field["type"] for field in schema["fields"]}
        kinds = {name: _kind(kind) for name, kind in types.items()}
        self._types = [(name, PYTHON_TYPES[kind]) for name, kind in kinds.items() if kind in PYTHON_TYPES]
        self._ints = [name for name, kind in kinds.items() if kind == "int"]
        self._times = [name for name, kind in types.items() if "timestamp-millis" in json.dumps(kind)]
        self._nested = [
            (name, branch["name"], Shape(branch))
            for name, kind in types.items()
            if isinstance(kind, list)
            for branch in kind
            if _kind(branch) == "record"
        ]

    def check(self, record: Mapping[str, Any]) -> None:
        """Refuse what fastavro would turn into something else: 3.7 into 3, "no" into true, 2**31 into an int.

        Raises:
            KeyError, TypeError, OverflowError: with the field's name; `problems` says more.
        """
        for name, kind in self._types:
            if type(record[name]) is not kind:
                raise TypeError(name)
        for name in self._ints:
            if not INT_RANGE[0] <= record[name] <= INT_RANGE[1]:
                raise OverflowError(name)
        for name in self._times:
            if record[name] is not None and not TIME_RANGE[0] <= record[name] <= TIME_RANGE[1]:
                raise OverflowError(name)
        for name, _, shape in self._nested:
            if record[name] is not None:
                shape.check(record[name])

    def hinted(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record, changed in place: each nested one with its type's name, so that fastavro need not search."""
        for name, branch, _ in self._nested:
            if record[name] is not None:
                record[name] = (branch, record[name])
        return record


def problems(schema: Schema, record: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Why a record does not fit its schema: `field: reason`, one a field."""
    types = {field["name"]: field["type"] for field in schema["fields"]}
    yield from (f"{path}{name}: is missing" for name in types if name not in record)
    yield from (f"{path}{name!a}: is no field of it" for name in record if name not in types)
    for name, kind in types.items():
        value = record.get(name)
        branch = next(branch for branch in kind if branch != "null") if isinstance(kind, list) else kind
        if name not in record or (value is None and isinstance(kind, list)):
            continue
        if _kind(branch) == "record" and isinstance(value, dict):
            yield from problems(branch, value, f"{path}{name}.")
        elif reason := unfit(branch, value):
            yield f"{path}{name}: {reason}"


def unfit(schema: str | Schema, value: Any) -> str | None:  # noqa: ANN401 - anything may have been given
    """Why a value is not one of a type that is neither union nor record; None where it is."""
    kind = _kind(schema)
    if isinstance(schema, dict) and kind == "array" and isinstance(value, list):
        return next(filter(None, (unfit(schema["items"], item) for item in value)), None)
    if isinstance(schema, dict) and kind == "enum" and value in schema["symbols"]:
        return None
    if kind == "string" and isinstance(value, str):
        return None if _encodable(value) else f"{shown(value)} has a lone surrogate, which UTF-8 cannot carry"
    if kind == "boolean" and type(value) is bool:
        return None
    if kind in ("int", "long") and type(value) is int:
        least, most = _range(schema)
        return None if least <= value <= most else f"{shown(value)} is outside of {least} to {most}"
    return f"{shown(value)} is no {kind}"


def shortened(record: Mapping[str, Any], text_bytes: int, path: str = "") -> tuple[dict[str, Any], tuple[str, ...]]:
    """The record with its long texts and arrays cut, and the sorted names of those that were."""
    shorter: dict[str, Any] = {}
    names: list[str] = []
    for name, value in record.items():
        if isinstance(value, dict):
            shorter[name], inner = shortened(value, text_bytes, f"{path}{name}.")
            names += inner
            continue
        if isinstance(value, str):
            shorter[name] = _cut(value, text_bytes)
        elif isinstance(value, list):
            texts = [_cut(item, text_bytes) for item in value]
            shorter[name] = list(_first(texts, TEXTS_OF_ARRAY * text_bytes))
        else:
            shorter[name] = value
        if shorter[name] != value:
            names.append(path + name)
    return shorter, tuple(sorted(names))


def key_part(text: str) -> str:
    """A text for a key: itself or, beyond 256 bytes, its beginning and a digest, so that keys stay apart."""
    raw = text.encode()
    if len(raw) <= KEY_PART_BYTES_MAX:
        return text
    tail = f"{ELLIPSIS}sha256:{sha256(raw).hexdigest()}"
    return raw[: KEY_PART_BYTES_MAX - len(tail.encode())].decode(errors="ignore") + tail


def shown(value: object) -> str:
    """A value for an error's text: in ASCII, of limited length."""
    text = ascii(value)
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}{ELLIPSIS}"


def _kind(schema: str | list[Any] | Schema) -> str:
    """The name of a type; of a union, nothing."""
    if isinstance(schema, list):
        return ""
    return str(schema["type"]) if isinstance(schema, dict) else schema


def _range(schema: str | Schema) -> tuple[int, ...]:
    if isinstance(schema, dict) and schema.get("logicalType") == "timestamp-millis":
        return TIME_RANGE
    return INT_RANGE if schema == "int" else LONG_RANGE


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cut(text: str, bytes_max: int) -> str:
    """A text of at most so many bytes; where it was cut, an ellipsis is its end."""
    raw = text.encode()
    if len(raw) <= bytes_max:
        return text
    return raw[: bytes_max - len(ELLIPSIS.encode())].decode(errors="ignore") + ELLIPSIS


def _first(texts: Sequence[str], bytes_max: int) -> Iterator[str]:
    """The first texts, as many as fit."""
    left = bytes_max
    for text in texts:
        left -= len(text.encode())
        if left < 0:
            return
        yield text
