"""SQL that reads a snapshot's files as normalised records: one row a record, one column a field of `fields`.

Owns the reading side of the comparison: which columns DuckDB's JSON reader is given, and how every kind of value is
normalised so that the same record always compares equal, whichever flavour it came in. Generates text only; must not
run it, and imports no library.

Why the columns are given, and never sniffed: sniffing would look at a sample and type a column by it. Why parts are
read in groups: the reader takes one spelling of a property name at a time, so parts that spell them differently are
read apart and joined by UNION ALL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from connector.fields import ATTRIBUTE_FIELDS, FIELDS, KEY_FIELDS, Field, Kind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from connector.model import Part

LINE_BYTES_MAX: Final = 64 * 2**20
"""Longest line that is read; the longest real ones are some kilobytes, hostile ones are refused here."""

COLUMN_TYPES: Final = {
    Kind.TEXT: "VARCHAR",
    Kind.NUMBER: "BIGINT",
    Kind.TEXT_SET: "VARCHAR[]",
    Kind.DATE: "VARCHAR",
    Kind.TIMESTAMP: "VARCHAR",
}

Spelling = tuple[tuple[str, str], ...]
"""Pairs of (lower-case property name, the spelling a part uses), in the order of `fields`."""


def literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def spelling_of(spellings: Mapping[str, tuple[str, ...]]) -> Spelling:
    """How a part spells the documented properties that occur in it.

    Where a part was seen to use two spellings of one name, the first is taken: `repair` has made them one before.
    """
    names = (name for field in FIELDS for name in field.wire_names)
    return tuple((name, spellings[name][0]) for name in names if spellings.get(name))


def scan(parts: Iterable[Part], fields: Sequence[Field] = FIELDS) -> str:
    """A SELECT of the normalised records of `parts`: the columns of `fields`, in their order."""
    groups: dict[Spelling, list[str]] = {}
    for part in parts:
        groups.setdefault(spelling_of(part.spellings), []).append(str(part.path))
    return "\nUNION ALL\n".join(_scan_group(dict(spelling), paths, fields) for spelling, paths in groups.items())


def digest(fields: Collection[Field]) -> str:
    """A 64-bit digest of the given attributes of a normalised record, to find the few that may have changed.

    Only ever compared between rows whose keys are equal; a key is never hashed.
    """
    columns = [field.column for field in ATTRIBUTE_FIELDS if field in fields]
    return f"hash({', '.join(columns)})" if columns else "0::UBIGINT"


def _scan_group(spelling: Mapping[str, str], paths: list[str], fields: Sequence[Field]) -> str:
    columns = ", ".join(
        f"{identifier(spelling[name])}: {literal(_column_type(field, name))}"
        for field in fields
        for name in field.wire_names
        if name in spelling
    )
    select = ",\n    ".join(f"{_normalised(field, spelling)} AS {field.column}" for field in fields)
    # Without a single known property there is nothing to read but the fact that there are lines.
    columns = columns or "deviceId: 'VARCHAR'"
    files = ", ".join(literal(path) for path in paths)
    return (
        f"SELECT\n    {select}\nFROM read_json([{files}], format = 'newline_delimited', compression = 'auto_detect',\n"
        f"    maximum_object_size = {LINE_BYTES_MAX}, columns = {{{columns}}})"
    )


def _column_type(field: Field, name: str) -> str:
    # The non-CPE export has a single `RegistryPath`, a string, where the other has an array.
    return "VARCHAR" if field.kind is Kind.TEXT_SET and name != field.wire_names[0] else COLUMN_TYPES[field.kind]


def _normalised(field: Field, spelling: Mapping[str, str]) -> str:
    """The expression that reads one field in its normal form."""
    present = [name for name in field.wire_names if name in spelling]
    columns = [identifier(spelling[name]) for name in present]
    if field.kind is Kind.TEXT_SET:
        columns = [
            column if name == field.wire_names[0] else f"[nullif({column}, '')]"
            for name, column in zip(present, columns, strict=True)
        ]
    column = f"coalesce({', '.join(columns)})" if len(columns) > 1 else "".join(columns)
    if not column:
        return "''" if field.key else ABSENT[field.kind]
    if field.key:
        return f"coalesce({column}, '')"
    return NORMAL_FORMS[field.kind].format(x=column)


ABSENT: Final = {
    Kind.TEXT: "NULL::VARCHAR",
    Kind.NUMBER: "NULL::BIGINT",
    Kind.TEXT_SET: "[]::VARCHAR[]",
    Kind.DATE: "NULL::VARCHAR",
    Kind.TIMESTAMP: "NULL::VARCHAR",
}

# Written so that the usual shape takes the cheap branch: DuckDB evaluates each branch only for the rows it concerns.
_TIME: Final = (
    "regexp_matches({x}, '^\\d{{4}}-\\d\\d-\\d\\d[ T]\\d\\d:\\d\\d(:\\d\\d(\\.\\d{{1,9}})?)?"
    "( ?(Z|[+-]\\d\\d(:?\\d\\d)?))?$')"
)
NORMAL_FORMS: Final = {
    Kind.TEXT: "nullif({x}, '')",
    Kind.NUMBER: "{x}",
    Kind.TEXT_SET: (
        "CASE WHEN {x} IS NULL OR len({x}) = 0 THEN []::VARCHAR[] WHEN len({x}) = 1 AND {x}[1] IS NOT NULL THEN {x}"
        " ELSE list_sort(list_distinct(list_filter({x}, lambda item: item IS NOT NULL))) END"
    ),
    Kind.DATE: (
        "CASE WHEN {x} IS NULL OR {x} = '' THEN NULL"
        " WHEN length({x}) = 10 AND try_cast({x} AS DATE) IS NOT NULL THEN {x}"
        " WHEN " + _TIME + " AND try_cast({x} AS TIMESTAMPTZ) IS NOT NULL"
        " THEN strftime(make_timestamp(epoch_us(try_cast({x} AS TIMESTAMPTZ))), '%Y-%m-%d')"
        " ELSE {x} END"
    ),
    Kind.TIMESTAMP: (
        "CASE WHEN {x} IS NULL OR {x} = '' THEN NULL"
        " WHEN length({x}) = 19 AND {x}[11] = ' ' AND try_cast({x} AS TIMESTAMP) IS NOT NULL"
        " THEN {x}[:10] || 'T' || {x}[12:] || 'Z'"
        " WHEN " + _TIME + " AND try_cast({x} AS TIMESTAMPTZ) IS NOT NULL"
        " THEN regexp_replace(strftime(make_timestamp(epoch_us(try_cast({x} AS TIMESTAMPTZ))), '%Y-%m-%dT%H:%M:%S.%f'),"
        " '\\.?0+$', '') || 'Z'"
        " ELSE {x} END"
    ),
}

KEY_COLUMNS: Final = tuple(field.column for field in KEY_FIELDS)
"""Columns of the structural key, in order: device, vendor, name, version."""
