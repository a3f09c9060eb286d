"""JSON values as a consumer sees them: read without the connector's code, and held against the shipped JSON Schemas."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from tests.support.avro import FOLDER, read_value

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def validator(name: str) -> Draft202012Validator:
    """Validates by the file of a record type, such as `software-change`."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FormatChecker())


def problems(name: str, value: bytes) -> list[str]:
    """What a value has against its JSON Schema, and fields that the schema does not know."""
    record = json.loads(value)
    known = validator(name).schema["properties"]
    unknown = [name for name in record if name not in known]
    return [error.message for error in validator(name).iter_errors(record)] + unknown


def read_json(value: bytes, schema: Any) -> Any:
    """A JSON value with its times as milliseconds, as `avro.read_value` gives them; `schema` is the Avro schema."""
    record = json.loads(value)
    for field in schema["fields"]:
        text = record[field["name"]]
        if "timestamp-millis" in json.dumps(field["type"]) and text is not None:
            record[field["name"]] = (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)
    return record


def read_either(value: bytes, schema: Any) -> Any:
    """A value in Avro or JSON, as `avro.read_value` gives it."""
    return read_json(value, schema) if value.startswith(b"{") else read_value(value, schema)[1]
