"""Avro in Confluent's wire format: a zero byte, the schema's id in four bytes, then the Avro value.

The registry gives the id of each schema that is written, when it is first needed and every few minutes from then on
(`schema_ids`), and the schema of each id that is read. Values are read with the schema that they were written with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import BytesIO
from time import monotonic
from typing import Any, Final, cast

from fastavro import parse_schema, schemaless_reader, schemaless_writer

from connector.errors import EncodingError
from connector.kafka import schemas
from connector.kafka.registry import Registry, value_subject
from connector.kafka.values.in_sql import constant_runs, record_sql
from connector.kafka.values.problems import INT_RANGE, TIME_RANGE, Schema, find_problems, is_time, kind_of, refusal
from connector.kafka.values.schema_ids import SchemaIds
from connector.model import Topic

MAGIC: Final = b"\0"
PREFIX_BYTES: Final = 5
WRITER_SCHEMAS_MAX: Final = 1_000

PYTHON_TYPES: Final = {"boolean": bool, "int": int, "long": int, "array": list}
"""The types for which fastavro silently converts whatever it is given."""

REFUSALS: Final = (TypeError, ValueError, LookupError, OverflowError, AttributeError)
"""What the checker or fastavro raise where a record does not fit."""

FOREIGN_HINT: Final = "Did another program write to this topic, or is schema_registry.url that of another registry?"


class AvroValues:
    """Values as Avro: a `Values`.

    Args:
        registry: gives ids and schemas.
        names: full names of the topics; the subject of a schema follows from its topic's name.
        seconds: a clock that only goes forward.
    """

    content_type: Final = b"application/avro"

    def __init__(
        self, registry: Registry, names: Mapping[Topic, str], *, seconds: Callable[[], float] = monotonic
    ) -> None:
        self._registry = registry
        ids = SchemaIds(registry, seconds=seconds)
        self._writers = {topic: _Writer(ids, topic, names[topic]) for topic in Topic}
        self._writer_schemas: dict[int, Schema] = {}

    def write(self, topic: Topic, record: Mapping[str, Any]) -> bytes:
        """As `Values.write`."""
        return self._writers[topic].write(record)

    def sql(self, topic: Topic, columns: Mapping[str, str]) -> AvroSql:
        """As `Values.sql`."""
        return AvroSql(self._writers[topic], columns)

    def read(self, value: bytes, topic: Topic | None = None) -> dict[str, Any]:
        """As `Values.read`."""
        if len(value) < PREFIX_BYTES or value[:1] != MAGIC:
            raise EncodingError(f"a value of {len(value)} bytes is not in Confluent's wire format", hint=FOREIGN_HINT)
        schema_id = int.from_bytes(value[1:PREFIX_BYTES], "big")
        writer_schema = self._writer_schema(schema_id)
        reader_schema = None if topic is None else self._writers[topic].schema
        body = BytesIO(value)
        body.seek(PREFIX_BYTES)
        try:
            record = schemaless_reader(body, writer_schema, reader_schema)
        except Exception as error:
            # There is no telling what fastavro raises on foreign bytes.
            raise EncodingError(
                f"a value cannot be read by its schema {schema_id}: {type(error).__name__}: {error}", hint=FOREIGN_HINT
            ) from error
        if not isinstance(record, dict) or body.tell() != len(value):
            raise EncodingError(f"a value is not one record of its schema {schema_id}", hint=FOREIGN_HINT)
        return record

    def _writer_schema(self, schema_id: int) -> Schema:
        if schema_id not in self._writer_schemas:
            text = self._registry.schema(schema_id)
            try:
                schema = _parse(text)
            except Exception as error:
                # Nor what it raises on a foreign schema.
                raise EncodingError(f"schema {schema_id} is not an Avro schema: {error}", hint=FOREIGN_HINT) from error
            if len(self._writer_schemas) >= WRITER_SCHEMAS_MAX:
                self._writer_schemas.clear()
            self._writer_schemas[schema_id] = schema
        return self._writer_schemas[schema_id]


class _Writer:
    """Writes the values of one topic."""

    def __init__(self, ids: SchemaIds, topic: Topic, name: str) -> None:
        self._topic = topic
        self._subject = value_subject(name)
        self._text = schemas.schema_of(topic)
        self.schema = _parse(self._text)
        self._ids = ids
        self._checker = AvroChecker(self.schema)

    def prefix(self) -> bytes:
        """What is before each value."""
        return MAGIC + self._ids.of(self._subject, self._text).to_bytes(PREFIX_BYTES - 1, "big")

    def write(self, record: Mapping[str, Any]) -> bytes:
        content = BytesIO()
        content.write(self.prefix())
        try:
            self._checker.check(record)
            schemaless_writer(content, self.schema, self._checker.name_nested(record), strict=True)
        except REFUSALS as error:
            # Rare, so finding out which field it was may be slow.
            problem = next(find_problems(self.schema, record), f"{type(error).__name__}: {error}")
            raise refusal(self._topic, record, problem) from error
        return content.getvalue()


class AvroSql:
    """As SQL: a `ValueSql`."""

    def __init__(self, writer: _Writer, columns: Mapping[str, str]) -> None:
        self._writer = writer
        constants = {field["name"] for field in writer.schema["fields"]} - columns.keys()
        self.pieces, self.value = record_sql(writer.schema, columns, constants)
        self._runs = [(run, AvroChecker(run)) for run in constant_runs(writer.schema, constants)]

    def constants(self, record: Mapping[str, Any]) -> list[bytes | None]:
        """As `ValueSql.constants`."""
        encoded: list[bytes | None] = [self._writer.prefix()]
        for run, checker in self._runs:
            content = BytesIO()
            values = {field["name"]: record[field["name"]] for field in run["fields"]}
            try:
                checker.check(values)
                schemaless_writer(content, run, values, strict=True)
            except REFUSALS:
                # Written by itself, each record says why.
                encoded.append(None)
            else:
                encoded.append(content.getvalue())
        return encoded


class AvroChecker:
    """Checks what fastavro does not look at in a record, or would look at slowly.

    Args:
        schema: of a record, with full names, and without references to types named elsewhere.
    """

    def __init__(self, schema: Schema) -> None:
        types = {field["name"]: field["type"] for field in schema["fields"]}
        kinds = {name: kind_of(kind) for name, kind in types.items()}
        self._types = [(name, PYTHON_TYPES[kind]) for name, kind in kinds.items() if kind in PYTHON_TYPES]
        self._ints = [name for name, kind in kinds.items() if kind == "int"]
        self._times = [name for name, kind in types.items() if is_time(kind)]
        self._nested = [
            (name, branch["name"], AvroChecker(branch))
            for name, kind in types.items()
            if isinstance(kind, list)
            for branch in kind
            if kind_of(branch) == "record"
        ]

    def check(self, record: Mapping[str, Any]) -> None:
        """Refuse what fastavro would turn into something else: 3.7 into 3, "no" into true, 2**31 into an int.

        Raises:
            KeyError, TypeError, OverflowError: with the field's name; `find_problems` says more.
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
        for name, _, checker in self._nested:
            if record[name] is not None:
                checker.check(record[name])

    def name_nested(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A copy in which each nested record stands with its type's name, so that fastavro need not search for it."""
        named = dict(record)
        for name, branch, _ in self._nested:
            if record[name] is not None:
                named[name] = (branch, record[name])
        return named


def _parse(text: str) -> Schema:
    """A schema as fastavro wants it, full names filled in."""
    return cast("Schema", parse_schema(json.loads(text)))
