"""Says why a record does not fit its type, in words for people. Slow and exact; the same for every value format.

Types are those of the schemas, as plain JSON. Formats write first and ask here only after a refusal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from connector.clock import milliseconds_of
from connector.errors import EncodingError
from connector.kafka import schemas
from connector.model import Topic

Schema = dict[str, Any]

TIME_RANGE: Final = tuple(
    milliseconds_of(moment) for moment in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
)
"""Milliseconds from the year 1 to the last day of 9999: what every consumer's calendar can show."""
INT_RANGE: Final = (-(2**31), 2**31 - 1)
LONG_RANGE: Final = (-(2**63), 2**63 - 1)

NAMING_FIELDS: Final = (
    "eventId", "alertId", "snapshotId", "transactionalId", "inventory",
    "deviceId", "softwareVendor", "softwareName", "softwareVersion",
)  # fmt: skip
"""What names a record in an error."""

QUOTED_CHARACTERS_MAX: Final = 80
FAULT_HINT: Final = "Nothing of this batch is published. It is a fault of the connector: please report this line."


def refusal(topic: Topic, record: Mapping[str, Any], problem: str, hint: str = FAULT_HINT) -> EncodingError:
    """The error for a record that cannot be written: its type, whatever names it, and the problem."""
    names = [f"{name} {quote(record[name])}" for name in NAMING_FIELDS if record.get(name) is not None]
    title = f"{schemas.NAMES[topic]} of {', '.join(names) or 'nothing that names it'}"
    return EncodingError(f"{title}: {problem}", hint=hint)


def find_problems(schema: Schema, record: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Why a record does not fit its schema: `field: reason`, one per field."""
    types = {field["name"]: field["type"] for field in schema["fields"]}
    yield from (f"{path}{name}: is missing" for name in types if name not in record)
    yield from (f"{path}{name!a}: is no field of it" for name in record if name not in types)
    for name, kind in types.items():
        value = record.get(name)
        branch = next(branch for branch in kind if branch != "null") if isinstance(kind, list) else kind
        if name not in record or (value is None and isinstance(kind, list)):
            continue
        if kind_of(branch) == "record" and isinstance(value, dict):
            yield from find_problems(branch, value, f"{path}{name}.")
        elif problem := find_problem(branch, value):
            yield f"{path}{name}: {problem}"


def find_problem(schema: str | Schema, value: Any) -> str | None:  # noqa: ANN401 - anything may have been given
    """Why a value is not one of a type that is neither union nor record; None where it is."""
    kind = kind_of(schema)
    if isinstance(schema, dict) and kind == "array" and isinstance(value, list):
        return next(filter(None, (find_problem(schema["items"], item) for item in value)), None)
    if isinstance(schema, dict) and kind == "enum" and value in schema["symbols"]:
        return None
    if kind == "string" and isinstance(value, str):
        return None if _is_encodable(value) else f"{quote(value)} has a lone surrogate, which UTF-8 cannot carry"
    if kind == "boolean" and type(value) is bool:
        return None
    if kind in ("int", "long") and type(value) is int:
        least, most = _range_of(schema)
        return None if least <= value <= most else f"{quote(value)} is outside of {least} to {most}"
    return f"{quote(value)} is no {kind}"


def quote(value: object) -> str:
    """A value for an error's text: in ASCII, of limited length."""
    text = ascii(value)
    return text if len(text) <= QUOTED_CHARACTERS_MAX else f"{text[:QUOTED_CHARACTERS_MAX]}…"


def kind_of(schema: str | list[Any] | Schema) -> str:
    """The name of a type; empty for a union."""
    if isinstance(schema, list):
        return ""
    return str(schema["type"]) if isinstance(schema, dict) else schema


def is_time(schema: str | list[Any] | Schema) -> bool:
    """Whether a type is a time, nullable or not."""
    if isinstance(schema, list):
        return any(is_time(branch) for branch in schema)
    return isinstance(schema, dict) and schema.get("logicalType") == "timestamp-millis"


def _range_of(schema: str | Schema) -> tuple[int, ...]:
    if is_time(schema):
        return TIME_RANGE
    return INT_RANGE if schema == "int" else LONG_RANGE


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
