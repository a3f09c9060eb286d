"""Avro as SQL: the engine encodes whole batches of rows, and only what it leaves goes record by record.

An Avro record is the bytes of its fields one after the other: a length or a number as a varint, a text as it is. So a
schema becomes an expression whose value is a BLOB, or NULL where the codec has to look at the record itself:

    a value is missing, or none of its enum's symbols     the codec refuses the record, and says why
    a time outside of the years 1 to 9999                 likewise
    a number of more than 48 bits, a text of a mebibyte   rare, and an expression for them would be long

The work that an expression makes grows with its length: it is parsed and planned for each statement, and each of its
nodes has buffers. So all fields of one type are put into a list, encoded by one lambda, and taken out of it in the
order of the schema. fastavro is the reference: tests hold every byte against it. Nothing here runs a statement.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, NamedTuple

from connector.kafka.values.problems import INT_RANGE, TIME_RANGE, Schema, is_time, kind_of

CONSTANT: Final = "constant_{}"
"""The columns of bytes that many records have in common: what is before them, and each run of such fields."""

NUMBER_BITS_MAX: Final = 49
"""Of a number with its sign."""
LENGTH_MAX: Final = 2**20
"""Texts of so many bytes, and lists of so many texts, are left to the codec."""
SHORT: Final = 64
"""Enums have fewer symbols, so that the place of each is one byte."""
GROUP_BITS: Final = 7
"""Bits of a number in each byte of its varint."""

_NONE: Final = "'\\x00'::BLOB"
_SOME: Final = "'\\x02'::BLOB"
"""What is before a value that may be null: the branch of the union."""


class RecordSql(NamedTuple):
    """How a record becomes bytes, in two steps: the second refers to what the first one names.

    Attributes:
        pieces: a SELECT list over the columns.
        value: an expression over the pieces, the columns and those of `CONSTANT`: a BLOB, or NULL.
    """

    pieces: str
    value: str


def record_sql(schema: Schema, columns: Mapping[str, str], constants: Collection[str] = ()) -> RecordSql:
    """The SQL that encodes records of a schema.

    Args:
        schema: of a record, without references to types named elsewhere.
        columns: for each field its value as an expression: text, number, flag, list of texts, or a struct.
        constants: fields whose bytes are in the columns `CONSTANT`: from the second on, one for each run of them.
    """
    encoder = _Encoder(constants)
    value = encoder.record(schema, columns)
    return RecordSql(encoder.pieces(), value)


def constant_runs(schema: Schema, constants: Collection[str]) -> list[Schema]:
    """Each run of constant fields as a record of its own, in the order of the columns `CONSTANT`."""
    runs = groupby(schema["fields"], key=lambda field: field["name"] in constants)
    return [{"type": "record", "name": "Run", "fields": list(fields)} for is_constant, fields in runs if is_constant]


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of values that one lambda encodes: texts, numbers or lists."""

    name: str
    nullable: bool

    @property
    def piece(self) -> str:
        """The name of the list of their bytes."""
        return f"nullable_{self.name}" if self.nullable else self.name


class _Encoder:
    """Collects the fields of one schema by their kind, those of a nested record after all others.

    Args:
        constants: the fields whose bytes are in the columns `CONSTANT`.
    """

    def __init__(self, constants: Collection[str]) -> None:
        self._constants = constants
        self._own: dict[_Kind, list[str]] = {}
        self._nested: dict[_Kind, list[str]] = {}
        self._nested_value = ""

    def record(self, schema: Schema, columns: Mapping[str, str]) -> str:
        """The bytes of a record, after what is before it."""
        parts = [CONSTANT.format(0)]
        runs = 1
        later: list[tuple[int, Schema]] = []
        for is_constant, fields in groupby(schema["fields"], key=lambda field: field["name"] in self._constants):
            if is_constant:
                parts.append(CONSTANT.format(runs))
                runs += 1
                continue
            for field in fields:
                if _record_of(field["type"]):
                    later.append((len(parts), field))
                    parts.append("")
                else:
                    parts.append(self._field(field["type"], columns[field["name"]], self._own))
        for place, field in later:
            parts[place] = self._record_field(field["type"], columns[field["name"]])
        return _joined(parts)

    def pieces(self) -> str:
        """A SELECT list of the lists that fields are taken from."""
        lists = []
        for kind in {**self._own, **self._nested}:
            own, nested = ", ".join(self._own.get(kind, [])), ", ".join(self._nested.get(kind, []))
            values = f"[{own}]"
            if nested:
                both = ", ".join(filter(None, (own, nested)))
                values = f"CASE WHEN {self._nested_value} IS NULL THEN {values} ELSE [{both}] END"
            lists.append(f"{_encoded_list(kind, values)} AS {kind.piece}")
        return ", ".join(lists) or "NULL"

    def _record_field(self, kind: str | list[Any] | Schema, value: str) -> str:
        """The bytes of a nested record. Its fields are put into the lists only where there is one."""
        if self._nested_value:
            raise NotImplementedError("a record has one nested record at most")
        self._nested_value = value
        nested = _record_of(kind)
        parts = [self._field(field["type"], f'{value}."{field["name"]}"', self._nested) for field in nested["fields"]]
        return _optional(_joined(parts), value, nullable=isinstance(kind, list))

    def _field(self, kind: str | list[Any] | Schema, value: str, lists: dict[_Kind, list[str]]) -> str:
        """The bytes of a field that is no record."""
        nullable = isinstance(kind, list)
        branch = next(branch for branch in kind if branch != "null") if isinstance(kind, list) else kind
        name = kind_of(branch)
        if name == "string":
            return self._from_list(_Kind("texts", nullable), value, lists)
        if name in {"int", "long"}:
            return self._from_list(
                _Kind("numbers", nullable), _within(value, _range_of(branch), nullable=nullable), lists
            )
        if isinstance(branch, dict) and name == "array" and branch["items"] == "string" and not nullable:
            return self._from_list(_Kind("lists", nullable), value, lists)
        if name == "boolean":
            return _optional(f"encode(chr({value}::INTEGER))", value, nullable=nullable)
        if isinstance(branch, dict) and name == "enum":
            symbols = ", ".join(f"'{symbol}'" for symbol in branch["symbols"][:SHORT])
            place = f"nullif(list_position([{symbols}], {value}), 0)"
            return _optional(f"encode(chr((2 * ({place} - 1))::INTEGER))", value, nullable=nullable)
        raise NotImplementedError(f"no field is a {kind}")

    def _from_list(self, kind: _Kind, value: str, lists: dict[_Kind, list[str]]) -> str:
        lists.setdefault(kind, []).append(value)
        before = len(self._own.get(kind, [])) if lists is self._nested else 0
        return f"{kind.piece}[{before + len(lists[kind])}]"


def _record_of(kind: str | list[Any] | Schema) -> Schema:
    """The record that a type is, nullable or not; empty where it is none."""
    branches = kind if isinstance(kind, list) else [kind]
    return next((branch for branch in branches if isinstance(branch, dict) and branch["type"] == "record"), {})


def _optional(encoded: str, value: str, *, nullable: bool) -> str:
    return f"CASE WHEN {value} IS NULL THEN {_NONE} ELSE {_SOME} || {encoded} END" if nullable else encoded


def _range_of(kind: str | Schema) -> tuple[int, ...]:
    bits = 2 ** (NUMBER_BITS_MAX - 1)
    limits = TIME_RANGE if is_time(kind) else INT_RANGE if kind_of(kind) == "int" else (-bits, bits - 1)
    return max(limits[0], -bits), min(limits[1], bits - 1)


def _within(value: str, limits: Sequence[int], *, nullable: bool) -> str:
    """A number, or one with more bits than are encoded where it is out of its limits, or missing."""
    least, most = limits
    missing = "" if nullable else f" OR {value} IS NULL"
    return (
        f"CASE WHEN {value} NOT BETWEEN {least} AND {most}{missing} THEN {2**NUMBER_BITS_MAX} ELSE {value}::BIGINT END"
    )


# ---- bytes


def _encoded_list(kind: _Kind, values: str) -> str:
    """The list of the bytes of the values in a list; NULL for those that are not encoded."""
    if kind.name == "numbers":
        # The sign becomes the last bit.
        values = f"list_transform({values}, lambda x: CASE WHEN x < 0 THEN -2 * x - 1 ELSE 2 * x END)"
    texts = f"list_transform(x, lambda y: {_text('y')})"
    encoded = {
        "texts": _text("x"),
        "numbers": f"CASE WHEN x < {2**GROUP_BITS} THEN encode(chr(x::INTEGER)) ELSE unhex({_varint('x')}) END",
        "lists": f"CASE len(x) WHEN 0 THEN {_NONE} ELSE {_length('len(x)')}"
        f" || list_reduce({texts}, lambda a, b: a || b) || {_NONE} END",
    }[kind.name]
    return f"list_transform({values}, lambda x: {_optional(encoded, 'x', nullable=kind.nullable)})"


def _text(value: str) -> str:
    """A text as its length and its bytes."""
    return f"{_length(f'strlen({value})')} || encode({value})"


def _length(length: str) -> str:
    """The varint of a length, of one byte, two or three."""
    low, high = f"((2 * {length}) & 127) | 128", f"(({length} >> 6) & 127) | 128"
    return (
        f"CASE WHEN {length} < {2**6} THEN encode(chr((2 * {length})::INTEGER))"
        f" WHEN {length} < {2**13} THEN unhex(hex((({low}) << 8) + ({length} >> 6)))"
        f" WHEN {length} < {LENGTH_MAX} THEN unhex(hex((({low}) << 16) + (({high}) << 8) + ({length} >> 13))) END"
    )


def _varint(number: str) -> str:
    """The hexadecimal digits of the varint of a number that is not negative: groups of seven bits, the lowest first.

    All bytes but the last have their highest bit set.
    """
    places = range(NUMBER_BITS_MAX // GROUP_BITS - 1)
    marked = " + ".join(
        f"(((({number} >> {GROUP_BITS * place}) & 127) | 128) << {8 * (len(places) - 1 - place)})" for place in places
    )
    cases = " ".join(f"WHEN {number} < {2 ** (GROUP_BITS * (place + 1))} THEN {place}" for place in places)
    last = f"CASE {cases} WHEN {number} < {2**NUMBER_BITS_MAX} THEN {len(places)} END"
    return f"left(hex({marked}), 2 * {last}) || printf('%02X', {number} >> ({GROUP_BITS} * {last}))"


def _joined(expressions: Sequence[str]) -> str:
    """Expressions of bytes, one after the other; halved again and again, so that few bytes are copied often."""
    if len(expressions) == 1:
        return expressions[0]
    middle = len(expressions) // 2
    return f"({_joined(expressions[:middle])} || {_joined(expressions[middle:])})"
