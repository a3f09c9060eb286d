"""Generate the JSON Schema of each record type from its Avro schema: `python -m tests.support.json_schemas`.

Each describes one message of `kafka.value_format = "json"` completely: every field is there and has its type. Fields
that a later version adds are allowed.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from tests.support.avro import FOLDER

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
TIME_PATTERN: Final = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$"
INTEGERS: Final = {"int": 2**31, "long": 2**63}

Schema = dict[str, Any]


def json_schema_of(avro: Schema) -> Schema:
    """The JSON Schema of an Avro schema of ours."""
    head = {"$schema": DIALECT, "$id": f"urn:mde-inventory-connector:{avro['name']}", "title": avro["name"]}
    return head | {"description": avro["doc"]} | _record(avro)


def files() -> dict[str, str]:
    """The content of each generated file by its name."""
    return {
        path.name.replace(".avsc", ".schema.json"): _text(json_schema_of(json.loads(path.read_text(encoding="utf-8"))))
        for path in sorted(FOLDER.glob("*.avsc"))
    }


def _record(avro: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {
            field["name"]: {"description": field["doc"], **_type(field["type"])} for field in avro["fields"]
        },
        "required": [field["name"] for field in avro["fields"]],
    }


def _type(avro: Any) -> Schema:
    if isinstance(avro, list):
        (branch,) = (branch for branch in avro if branch != "null")
        schema = _type(branch)
        return schema | {"type": [schema["type"], "null"]}
    if isinstance(avro, str):
        range_of = {"minimum": -INTEGERS[avro], "maximum": INTEGERS[avro] - 1} if avro in INTEGERS else {}
        return {"type": "integer" if range_of else avro, **range_of}
    if avro.get("logicalType") == "timestamp-millis":
        return {"type": "string", "format": "date-time", "pattern": TIME_PATTERN}
    if avro["type"] == "array":
        return {"type": "array", "items": _type(avro["items"])}
    return {"type": "string", "enum": avro["symbols"]} if avro["type"] == "enum" else _record(avro)


def _text(schema: Schema) -> str:
    return json.dumps(schema, ensure_ascii=False, indent=2) + "\n"


def main() -> int:
    """Write the files."""
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
