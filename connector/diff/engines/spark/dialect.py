"""Spark's dialect: what `diff.scan` is for DuckDB, made from the same table of fields and the same patterns.

What a record means must not depend on who reads it: the normal forms here and there are one contract, and the tests
hold both against the same oracle. Where a line is not plainly what it should be, this reader refuses it, and `repair`
decides about it, as it does for DuckDB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connector.diff.scan import MOMENT, MOMENTS, USUAL_MOMENT, Spelling
from connector.exports.fields import Export, Field, Kind
from connector.model import UNREADABLE_MARK

REFUSED: Final = "JSON: "
"""The message of the error where a line is refused begins like that."""

CORRUPT: Final = "#corrupt"
"""The column of a line that Spark's reader cannot take as the properties it is to have."""

READER: Final = {
    "columnNameOfCorruptRecord": CORRUPT,
    "mode": "PERMISSIVE",
    # What only a lenient reader takes for JSON.
    "allowNonNumericNumbers": "false",
    "allowSingleQuotes": "false",
}

BLANK: Final = "value RLIKE r'\\A\\s*\\z'"
"""Whether a line is blank."""

_HALF_SURROGATE: Final = (
    "(?i)(?<!\\\\)(\\\\\\\\)*(\\\\ud[89ab][0-9a-f]{2}(?!\\\\ud[c-f][0-9a-f]{2})"
    "|(?<!\\\\ud[89ab][0-9a-f]{2})\\\\ud[c-f][0-9a-f]{2})"
)
_IS_NO_OBJECT: Final = (
    "NOT value RLIKE r'(?s)\\A\\s*\\{.*\\}\\s*\\z'"
    # The reader stops at the end of the first object: a second one on the line would be lost.
    " OR (value RLIKE r'\\}[\\s,]*\\{' AND coalesce(size(from_json(concat('[', value, ']'), 'ARRAY<STRING>')), 0) <> 1)"
    f" OR value RLIKE r'{_HALF_SURROGATE}'"
)

COLUMN_TYPES: Final = {
    Kind.TEXT: "STRING",
    Kind.NUMBER: "BIGINT",
    Kind.TEXT_SET: "ARRAY<STRING>",
    Kind.DATE: "STRING",
    Kind.TIMESTAMP: "STRING",
}


def quoted(name: str) -> str:
    """A quoted identifier."""
    return "`" + name.replace("`", "``") + "`"


def schema(export: Export, spelling: Spelling, *, marked: bool) -> str:
    """The properties of a line as the reader is given them, as DDL: numbers are read as text, and checked."""
    spelled = dict(spelling)
    columns = [
        f"{quoted(spelled[name])} {'ARRAY<STRING>' if _is_set(field, name) else 'STRING'}"
        for field in export.fields
        for name in field.wire_names
        if name in spelled
    ]
    columns += [f"{quoted(UNREADABLE_MARK)} ARRAY<STRING>"] * marked
    return ", ".join([*columns, f"{quoted(CORRUPT)} STRING"])


def record(export: Export, spelling: Spelling, *, marked: bool) -> list[str]:
    """Expressions over a line's properties and its text, `value`: the columns of the export in normal form.

    A further column, `unreadable`, has the names of the attributes that could not be read. A line that cannot be read
    ends the query with an error that begins with `REFUSED`.
    """
    spelled = dict(spelling)
    values = {field.column: _read(field, spelled) for field in export.fields}
    device = export.column(export.device)
    refusal = f"{quoted(CORRUPT)} IS NOT NULL OR {_IS_NO_OBJECT}"
    values[device] = _refused(refusal, f"substring(value, 1, 40), {values[device]}", values[device])
    forms = [
        values[field.column] if field.key else normal_form(field.kind, f"({values[field.column]})")
        for field in export.fields
    ]
    columns = [f"{form} AS {field.column}" for form, field in zip(forms, export.fields, strict=True)]
    mark = quoted(UNREADABLE_MARK) if marked else "CAST(NULL AS ARRAY<STRING>)"
    return [*columns, f"{mark} AS unreadable"]


def normal_form(kind: Kind, value: str) -> str:
    """An expression: a value as it is stored and compared."""
    match kind:
        case Kind.NUMBER:
            return value
        case Kind.TEXT_SET:
            return f"coalesce(array_sort(array_distinct(filter({value}, item -> item IS NOT NULL))), array())"
        case Kind.TEXT:
            return f"nullif({value}, '')"
        case Kind.DATE:
            moment = f"date_format(timestamp_micros({_micros(value)}), 'yyyy-MM-dd')"
            return f"CASE WHEN {_is_moment(value)} THEN {moment} ELSE nullif({value}, '') END"
        case Kind.TIMESTAMP:
            return (
                f"CASE WHEN {_is_usual(value)} THEN concat(substring({value}, 1, 10), 'T', substring({value}, 12), 'Z')"
                f" WHEN {_is_moment(value)} THEN {_written(_micros(value))} ELSE nullif({value}, '') END"
            )


def _is_set(field: Field, name: str) -> bool:
    # The non-CPE export has a single `RegistryPath`, a string, where the other has an array.
    return field.kind is Kind.TEXT_SET and name == field.wire_names[0]


def _read(field: Field, spelled: Mapping[str, str]) -> str:
    """The expression that reads one field under whichever of its names it goes."""
    columns = []
    for name in field.wire_names:
        if name in spelled:
            column = quoted(spelled[name])
            if field.kind is Kind.NUMBER:
                columns.append(_number(column))
            elif field.kind is Kind.TEXT_SET and not _is_set(field, name):
                columns.append(f"CASE WHEN {column} <> '' THEN array({column}) END")
            else:
                columns.append(column)
    columns += ["''"] if field.key else []
    return f"coalesce({', '.join(columns)})" if len(columns) > 1 else columns[0]


def _number(column: str) -> str:
    """An expression: the whole number that a text is, exactly as numbers are written; all else is refused."""
    number = f"try_cast({column} AS BIGINT)"
    is_none = f"{column} IS NOT NULL AND NOT (CAST({number} AS STRING) <=> {column})"
    return _refused(is_none, f"'not a whole number of 64 bits: ', substring({column}, 1, 40)", number)


def _refused(condition: str, why: str, otherwise: str) -> str:
    return f"CASE WHEN {condition} THEN raise_error(concat_ws('', '{REFUSED}', {why})) ELSE {otherwise} END"


def _is_usual(value: str) -> str:
    is_time = f"try_cast({value} AS TIMESTAMP) IS NOT NULL AND substring({value}, 1, 4) <> '0000'"
    return f"({value} RLIKE r'\\A{USUAL_MOMENT}\\z' AND {is_time})"


def _is_moment(value: str) -> str:
    low, high = MOMENTS
    return f"({value} RLIKE r'{_WHOLE}' AND {_micros(value)} BETWEEN {low} AND {high})"


_WHOLE: Final = f"\\A{MOMENT}\\z"


def _micros(value: str) -> str:
    """Microseconds since 1970 of a text that `MOMENT` matches; NULL where there is no such day or zone."""
    seconds, fraction, zone = (f"regexp_extract({value}, r'{_WHOLE}', {group})" for group in (2, 3, 4))
    time = f"concat(substring({value}, 12, 5), if({seconds} = '', ':00', substring({value}, 17, 3)))"
    local = f"unix_micros(try_cast(concat(substring({value}, 1, 10), ' ', {time}) AS TIMESTAMP))"
    part = f"try_cast(rpad(substring({fraction}, 2, 6), 6, '0') AS BIGINT)"
    digits = f"rpad(regexp_replace({zone}, r'[^0-9]', ''), 4, '0')"
    minutes = f"(try_cast(substring({digits}, 1, 2) AS BIGINT) * 60 + try_cast(substring({digits}, 3, 2) AS BIGINT))"
    offset = f"if({minutes} < 1440, {minutes} * if({zone} LIKE '-%', -60000000, 60000000), NULL)"
    return f"({local} + {part} - {offset})"


def _written(micros: str) -> str:
    """The normal form of a moment: ISO 8601 in UTC, with as many digits of the second as there are."""
    fraction = f"rtrim('0', lpad(CAST(pmod({micros}, 1000000) AS STRING), 6, '0'))"
    whole = f"date_format(timestamp_micros({micros}), \"yyyy-MM-dd'T'HH:mm:ss\")"
    return f"concat({whole}, if(pmod({micros}, 1000000) = 0, '', concat('.', {fraction})), 'Z')"
