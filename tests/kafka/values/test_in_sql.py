"""Every byte that the engine encodes is the codec's, and what it does not encode is left to the codec."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import duckdb
import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from connector.kafka import schemas
from connector.kafka.values.in_sql import constant_runs, record_sql
from connector.kafka.values.problems import TIME_RANGE, is_time
from connector.model import Topic
from tests.support.records import CHANGE, RECORD

DATABASE = duckdb.connect(config={"threads": 1})

TYPES = {"string": "VARCHAR", "boolean": "BOOLEAN", "int": "INTEGER", "long": "BIGINT", "enum": "VARCHAR"}

UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""Each example is a statement of thousands of characters: the smallest one that fails takes minutes to find."""

LENGTHS = (0, 1, 62, 63, 64, 65, 8_190, 8_191, 8_192, 8_193, 70_000)
"""Around those at which the length of a text takes another byte."""
NUMBERS = sorted({sign * 2**bits + more for bits in range(49) for sign in (1, -1) for more in (-1, 0, 1)})
"""Around those at which a number takes another byte, and all that is encoded."""

BEFORE = RECORD | {"numberOfWeaknesses": 3}

TEXTS = st.one_of(
    st.text(max_size=80),
    st.sampled_from(["", "\0", "a\0b", "é" * 32, "😀" * 16, "\U0010ffff", "שלום", "'", "\\x00", '"']),
    st.builds(lambda length, unit: (unit * length)[:length], st.sampled_from(LENGTHS), st.sampled_from("aé\0")),
)
LISTS = st.one_of(st.lists(TEXTS, max_size=3), st.builds(lambda n: [""] * n, st.sampled_from([63, 64, 8_192])))


def numbers_of(bits: int) -> st.SearchStrategy[int]:
    """Numbers of as many bits beside their sign."""
    least, most = -(2**bits), 2**bits - 1
    return st.integers(least, most) | st.sampled_from([number for number in NUMBERS if least <= number <= most])


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """The values that a field of a type can take, and that the engine encodes."""
    if isinstance(kind, list):
        return st.none() | values_of(next(branch for branch in kind if branch != "null"))
    if is_time(kind):
        return st.integers(*TIME_RANGE) | st.sampled_from(TIME_RANGE)
    name = kind["type"] if isinstance(kind, dict) else kind
    if name == "record":
        return records_of(kind)
    strategies: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
        "string": lambda: TEXTS,
        "boolean": st.booleans,
        "int": lambda: numbers_of(31),
        "long": lambda: numbers_of(48),
        "enum": lambda: st.sampled_from(kind["symbols"]),
        "array": lambda: LISTS,
    }
    return strategies[name]()


def records_of(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Records of a schema."""
    return st.fixed_dictionaries({field["name"]: values_of(field["type"]) for field in schema["fields"]})


def type_of(kind: Any) -> str:
    """The engine's type for an Avro type."""
    branch = next(branch for branch in kind if branch != "null") if isinstance(kind, list) else kind
    name = branch["type"] if isinstance(branch, dict) else branch
    if name == "record":
        return f"STRUCT({declared(branch)})"
    return "VARCHAR[]" if name == "array" else TYPES[name]


def declared(schema: dict[str, Any]) -> str:
    """The fields of a record as columns of a table, or of a struct."""
    return ", ".join(f'"{field["name"]}" {type_of(field["type"])}' for field in schema["fields"])


def schema_of(topic: Topic) -> dict[str, Any]:
    """The schema of a topic, as the codec has it."""
    return parse_schema(json.loads(schemas.schema_of(topic)))  # type: ignore[return-value]


def written(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """What fastavro writes."""
    content = BytesIO()
    schemaless_writer(content, schema, {field["name"]: record[field["name"]] for field in schema["fields"]})
    return content.getvalue()


def encoded(
    schema: dict[str, Any], records: list[dict[str, Any]], constants: tuple[str, ...] = ()
) -> list[bytes | None]:
    """What the engine makes of records; the constants are those of the first."""
    fields = schema["fields"]
    sql = record_sql(schema, {field["name"]: f'"{field["name"]}"' for field in fields}, constants)
    runs = [b"", *(written(run, records[0]) for run in constant_runs(schema, constants))]
    columns = ", ".join(f"$c{number}::BLOB AS constant_{number}" for number in range(len(runs)))
    with DATABASE.cursor() as database:
        database.execute(f"CREATE OR REPLACE TEMP TABLE records (number INTEGER, {declared(schema)})")
        for number, record in enumerate(records):
            database.execute(
                f"INSERT INTO records VALUES ($1, {', '.join(f'${place + 2}' for place in range(len(fields)))})",
                [number, *(record[field["name"]] for field in fields)],
            )
        rows = database.execute(
            f"""
            WITH constants AS (SELECT {columns}),
            pieces AS (SELECT *, {sql.pieces} FROM records, constants)
            SELECT {sql.value} FROM pieces ORDER BY number
            """,
            {f"c{number}": run for number, run in enumerate(runs)},
        ).fetchall()
    return [row[0] for row in rows]


@pytest.mark.parametrize("topic", Topic)
@given(data=st.data())
@settings(max_examples=20, deadline=None, phases=UNSHRUNK)
def test_the_engine_encodes_what_the_codec_encodes(topic: Topic, data: st.DataObject) -> None:
    """Records of every type, with every value that a field can take: the same bytes."""
    schema = schema_of(topic)
    records = data.draw(st.lists(records_of(schema), min_size=1, max_size=4))
    assert encoded(schema, records) == [written(schema, record) for record in records]


@pytest.mark.parametrize("topic", Topic)
@given(data=st.data())
@settings(max_examples=10, deadline=None, phases=UNSHRUNK)
def test_fields_that_records_have_in_common_may_be_given_as_bytes(topic: Topic, data: st.DataObject) -> None:
    """Whichever fields are constant, and wherever they stand: the same bytes."""
    schema = schema_of(topic)
    names = [field["name"] for field in schema["fields"] if field["name"] != "before"]
    constants = tuple(data.draw(st.sets(st.sampled_from(names))))
    first, *others = data.draw(st.lists(records_of(schema), min_size=1, max_size=4))
    records = [first, *(other | {name: first[name] for name in constants} for other in others)]
    assert encoded(schema, records, constants) == [written(schema, record) for record in records]


@pytest.mark.parametrize(
    "fields",
    [
        {"eventId": None},
        {"isEndOfSupport": None},
        {"sequence": None},
        {"sequence": 2**48},
        {"sequence": -(2**48) - 1},
        {"sequence": 2**63 - 1},
        {"sequence": -(2**63)},
        {"rbacGroupId": 2**48},
        {"changeType": None},
        {"changeType": "MOVED"},
        {"reason": ""},
        {"observedAt": TIME_RANGE[0] - 1},
        {"observedAt": TIME_RANGE[1] + 1},
        {"diskPaths": None},
        {"diskPaths": [None]},
        {"diskPaths": ["a", None, "b"]},
        {"deviceName": "a" * 2**20},
        {"registryPaths": ["b", "é" * 2**19]},
        {"before": BEFORE | {"deviceId": None}},
        {"before": BEFORE | {"diskPaths": None}},
        {"before": BEFORE | {"numberOfWeaknesses": 2**50}},
    ],
    ids=str,
)
def test_what_does_not_fit_is_left_to_the_codec(fields: dict[str, Any]) -> None:
    """A row that the codec refuses, or that is too long for the expression, is NULL; those beside it are encoded."""
    schema = schema_of(Topic.CHANGES)
    names = [field["name"] for field in schema["fields"]]
    few = {"numberOfWeaknesses": 3}
    plain = {name: (CHANGE | few | {"before": BEFORE, "shortenedFields": []})[name] for name in names}
    rows = encoded(schema, [plain, plain | fields, plain])
    assert rows == [written(schema, plain), None, written(schema, plain)]


def test_other_types_are_no_part_of_it() -> None:
    """A schema with a type that nobody thought of is refused when the SQL is made, not encoded wrongly."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "double"}]}
    with pytest.raises(NotImplementedError, match="double"):
        record_sql(schema, {"a": "a"})
