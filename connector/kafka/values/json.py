"""JSON: one object for each record, with the names and the order of its schema. Needs no registry.

A time is ISO 8601 in UTC with milliseconds, `2026-11-23T08:00:00.000Z`; characters stand as they are, in UTF-8. A JSON
Schema of each record type is beside the Avro schema that it is generated from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from connector.clock import iso_text_of
from connector.errors import EncodingError
from connector.kafka import schemas
from connector.kafka.values.problems import (
    INT_RANGE,
    LONG_RANGE,
    TIME_RANGE,
    Schema,
    find_problem,
    find_problems,
    is_time,
    kind_of,
    quote,
    refusal,
)
from connector.model import Topic

FOREIGN_HINT: Final = "Did another program write to this topic?"

Convert = Callable[[Any], Any]
"""Gives a value as JSON carries it; raises TypeError, ValueError or LookupError where it is not of its type."""


class JsonValues:
    """Values as JSON: a `Values`."""

    content_type: Final = b"application/json"

    def __init__(self) -> None:
        self._schemas: dict[Topic, Schema] = {topic: json.loads(schemas.schema_of(topic)) for topic in Topic}
        self._converters = {topic: _convert_record(schema) for topic, schema in self._schemas.items()}
        self._times = frozenset(
            field["name"] for schema in self._schemas.values() for field in schema["fields"] if is_time(field["type"])
        )

    def write(self, topic: Topic, record: Mapping[str, Any]) -> bytes:
        """As `Values.write`."""
        try:
            return _ENCODER.encode(self._converters[topic](record)).encode()
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            # Rare, so finding out which field it was may be slow.
            problem = next(find_problems(self._schemas[topic], record), f"{type(error).__name__}: {error}")
            raise refusal(topic, record, problem) from error

    def sql(self, _topic: Topic, _columns: Mapping[str, str]) -> None:
        """As `Values.sql`: there is none."""

    def read(self, value: bytes, topic: Topic | None = None) -> dict[str, Any]:
        """As `Values.read`. Without a topic, a time is known by its name, which is that of a time in every type."""
        try:
            record = _DECODER.decode(value.decode())
        except (ValueError, RecursionError) as error:
            text = f"a value of {len(value)} bytes is not JSON: {type(error).__name__}: {error}"
            raise EncodingError(text, hint=FOREIGN_HINT) from error
        if not isinstance(record, dict):
            raise EncodingError("a value is not one JSON object", hint=FOREIGN_HINT)
        try:
            if topic is not None:
                return _resolve_record(self._schemas[topic], record)
            return {
                name: _moment(field) if name in self._times and field is not None else field
                for name, field in record.items()
            }
        except ValueError as error:
            name = "a record" if topic is None else f"a {schemas.NAMES[topic]}"
            raise EncodingError(f"a value cannot be read as {name}: {error}", hint=FOREIGN_HINT) from error


# ---- writing


def _convert_record(schema: Schema) -> Convert:
    """Converts a record with exactly the fields of a schema; its fields stand in the schema's order."""
    converters = [(field["name"], _converter(field["type"])) for field in schema["fields"]]

    def convert(record: Mapping[str, Any]) -> dict[str, Any]:
        converted = {name: convert_field(record[name]) for name, convert_field in converters}
        if len(record) != len(converted):
            raise KeyError("a name too many")
        return converted

    return convert


def _converter(kind: str | list[Any] | Schema) -> Convert:
    """Converts the values of one type."""
    if isinstance(kind, list):
        return _convert_nullable(_converter(next(branch for branch in kind if branch != "null")))
    if is_time(kind):
        return _convert_time
    name = kind_of(kind)
    if isinstance(kind, dict) and name == "record":
        return _convert_record(kind)
    if isinstance(kind, dict) and name == "array":
        return _convert_list
    if isinstance(kind, dict) and name == "enum":
        return _convert_symbol(frozenset(kind["symbols"]))
    return {"string": _convert_text, "boolean": _convert_flag, "int": _convert_int, "long": _convert_long}[name]


def _convert_nullable(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _convert_symbol(symbols: frozenset[str]) -> Convert:
    def convert(value: Any) -> Any:  # noqa: ANN401 - as `Convert`
        if value not in symbols:
            raise ValueError("no symbol of it")
        return value

    return convert


def _convert_text(value: Any) -> Any:  # noqa: ANN401 - as `Convert`
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _convert_list(value: Any) -> Any:  # noqa: ANN401 - as `Convert`
    if type(value) is not list:
        raise TypeError("no list")
    for item in value:
        _convert_text(item)
    return value


def _convert_flag(value: Any) -> Any:  # noqa: ANN401 - as `Convert`
    if type(value) is not bool:
        raise TypeError("no flag")
    return value


def _convert_number(value: Any, least: int, most: int) -> Any:  # noqa: ANN401 - as `Convert`
    if type(value) is not int:
        raise TypeError("no number")
    if not least <= value <= most:
        raise ValueError("out of range")
    return value


def _convert_int(value: Any) -> Any:  # noqa: ANN401 - as `Convert`
    return _convert_number(value, *INT_RANGE)


def _convert_long(value: Any) -> Any:  # noqa: ANN401 - as `Convert`
    return _convert_number(value, *LONG_RANGE)


def _convert_time(value: Any) -> Any:  # noqa: ANN401 - as `Convert`
    return iso_text_of(_convert_number(value, TIME_RANGE[0], TIME_RANGE[1]))


# ---- reading


def _resolve_record(schema: Schema, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of any version as one of this schema: what it lacks has its default, what is unknown is left out.

    Raises:
        ValueError: it is of another type.
    """
    resolved: dict[str, Any] = {}
    for field in schema["fields"]:
        name, kind = field["name"], field["type"]
        if name in record:
            try:
                resolved[name] = _resolve(kind, record[name])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        elif "default" in field:
            resolved[name] = [] if field["default"] == [] else field["default"]
        else:
            raise ValueError(f"{name}: is missing")
    return resolved


def _resolve(kind: str | list[Any] | Schema, value: Any) -> Any:  # noqa: ANN401 - a field of any type
    if isinstance(kind, list):
        return None if value is None else _resolve(next(branch for branch in kind if branch != "null"), value)
    if is_time(kind):
        return _moment(value)
    if isinstance(kind, dict) and kind_of(kind) == "record" and isinstance(value, dict):
        return _resolve_record(kind, value)
    if isinstance(kind, dict) and kind_of(kind) == "enum" and isinstance(value, str):
        return value if value in kind["symbols"] else kind["default"]
    if problem := find_problem(kind, value):
        raise ValueError(problem)
    return value


def _moment(value: object) -> datetime:
    """A time of a message.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str):
        with suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
    raise ValueError(f"{quote(value)} is not a time in ISO 8601 with a time zone")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
