"""Avro without fastavro: a decoder written from the specification, and records for any schema of ours.

The decoder follows "Data Serialization and Deserialization" of the Avro 1.12 specification: a record is its fields one
after another, a union the branch's position and then its value. Times stay the numbers that they are on the wire.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "schemas"
HISTORY = FOLDER / "history"

Schema = Any


def load(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """A schema's file, such as `software-change`."""
    schema: dict[str, Any] = json.loads((folder / f"{name}.avsc").read_text(encoding="utf-8"))
    return schema


def read_value(value: bytes, schema: Schema) -> tuple[int, Any]:
    """The id of the schema and the record of a value in Confluent's wire format, read to its last byte."""
    assert value[0] == 0
    stream = io.BytesIO(value[5:])
    record = read(stream, schema)
    assert stream.read() == b""
    return int.from_bytes(value[1:5], "big"), record


def read(stream: io.BytesIO, schema: Schema) -> Any:
    """One value of a type."""
    if isinstance(schema, list):
        return read(stream, schema[read_number(stream)])
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        return {field["name"]: read(stream, field["type"]) for field in schema["fields"]}
    if kind == "array":
        return read_array(stream, schema["items"])
    if kind == "enum":
        return schema["symbols"][read_number(stream)]
    return READERS[kind](stream)


def read_number(stream: io.BytesIO) -> int:
    """A zig-zag number of seven bits a byte, the lowest first."""
    shifted, position = 0, 0
    while True:
        byte = stream.read(1)[0]
        shifted |= (byte & 0x7F) << position
        position += 7
        if byte < 0x80:
            return (shifted >> 1) ^ -(shifted & 1)


def read_bytes(stream: io.BytesIO, length: int) -> bytes:
    """Exactly `length` bytes."""
    content = stream.read(length)
    assert len(content) == length
    return content


def read_array(stream: io.BytesIO, items: Schema) -> list[Any]:
    """Blocks of items until an empty one; a negative count says that the block's length in bytes follows."""
    array: list[Any] = []
    while count := read_number(stream):
        if count < 0:
            read_number(stream)
        array += [read(stream, items) for _ in range(abs(count))]
    return array


READERS: dict[str, Callable[[io.BytesIO], Any]] = {
    "null": lambda _: None,
    "boolean": lambda stream: {b"\0": False, b"\1": True}[stream.read(1)],
    "int": read_number,
    "long": read_number,
    "string": lambda stream: read_bytes(stream, read_number(stream)).decode("utf-8"),
}

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    [
        "",
        "\0",
        "a\0b",
        "\x1b[31m",
        "\r\n",
        "שלום",
        "\u202eevil",
        "😀👩‍👩‍👧",
        "𐍈",
        "é",
        "ﷺ",
        "\ufeff",
        "\uffff",
        "'; --",
        "=cmd()",
    ]
)
"""Any text, and those that have broken something somewhere."""


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values of a type, as `Values.write` is given them: times as milliseconds."""
    if isinstance(schema, list):
        return st.one_of([values(branch) for branch in schema])
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        return st.fixed_dictionaries({field["name"]: values(field["type"]) for field in schema["fields"]})
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=4)
    if kind == "enum":
        return st.sampled_from(schema["symbols"])
    if kind == "long" and isinstance(schema, dict):
        return st.integers(-62_135_596_800_000, 253_402_214_400_000)
    plain: dict[str, st.SearchStrategy[Any]] = {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "string": TEXTS,
    }
    return plain[kind]
