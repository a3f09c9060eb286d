"""SQL that reads a snapshot's files: one row a record, one column a field of the export.

The reading side of the comparison: the columns that DuckDB's JSON reader is given, the normal form of every kind of
value, and the digest that shows quickly which records may have changed. Only text is made here; nothing runs.

Why the columns are given, and never sniffed: sniffing would look at a sample and type a column by it. Why parts are
read in groups: the reader takes one spelling of a property name at a time, so parts that spell them differently are
read apart and joined by UNION ALL. Why values leave here as they were written: bringing them to their normal form
costs half as much as parsing them, and only the few records whose digest differs need it. Why file names are
escaped: the reader takes them for patterns, and would read `t1` and `t2`, other tenants' folders, for a folder `t[12]`.

What the reader takes without complaint, since no reading of it is ambiguous: a number or a boolean where text is
expected (its text), an object or array there (its JSON), and plain digits in quotes where a number is expected. All
else makes it refuse the line: `repair` decides about it. Numbers are read as text, since the reader itself would round
fractions and take true for 1.

A repaired part may have lines with attributes that could not be read: null, and named by `UNREADABLE_MARK`. The digest
tells such a record from one whose value is null.

The normal forms are a contract with every state file there is: to change one, migrate what is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from connector.errors import SourceMalformed
from connector.exports.fields import COLUMN_TYPES, Export, Field, Kind
from connector.model import LINE_BYTES_MAX, UNREADABLE_MARK, Part, Snapshot
from connector.packed import HALVES, TAG_BYTES_MAX
from connector.state.sql import file_pattern, identifier, literal

LINE_COLUMNS: Final = ("line_1", "line_2")
"""The two halves of the digest of a line."""

Spelling = tuple[tuple[str, str], ...]
"""Pairs of (lower-case property name, how a part spells it), in the order of the export's fields."""


def spelling_of(export: Export, spellings: Mapping[str, tuple[str, ...]]) -> Spelling:
    """How a part spells the documented properties.

    `spellings` is what a sample of its lines showed. A property that the sample lacks gets the spelling that is usual
    where the others are spelled as they are, and is read under all its names, so that it is not lost where it first
    occurs outside the sample.
    """
    seen = [spellings[name][0] for field in export.fields for name in field.wire_names if spellings.get(name)]
    pascal = 2 * sum(name[:1].isupper() for name in seen) > len(seen)
    pairs: list[tuple[str, str]] = []
    for field in export.fields:
        known = [(name, spellings[name][0]) for name in field.wire_names if spellings.get(name)]
        usual = field.file_names if pascal else (field.name, *field.aliases)
        pairs += known or zip(field.wire_names, usual, strict=True)
    return tuple(pairs)


def mixed_spellings(export: Export, part: Part) -> tuple[str, ...]:
    """The documented properties that a part spells in two ways at once: one reading of it would lose some."""
    names = (name for field in export.fields for name in field.wire_names)
    return tuple(
        spelling for name in names if len(part.spellings.get(name, ())) > 1 for spelling in part.spellings[name]
    )


def check_readable(export: Export, snapshot: Snapshot) -> None:
    """Refuse a snapshot that has to be repaired before it can be read.

    Raises:
        SourceMalformed: a part spells one property in two ways.
    """
    for part in snapshot.parts:
        if mixed := mixed_spellings(export, part):
            raise SourceMalformed(
                f"part {part.name} of {snapshot.snapshot_id} spells a property in several ways: {', '.join(mixed)}",
                hint="Nothing was staged.",
            )


def scan(
    export: Export,
    parts: Iterable[Part],
    fields: Sequence[Field] | None = None,
    *,
    lenient: bool = False,
    marked: bool = False,
    tagged: bool = False,
) -> str:
    """A SELECT of the records of `parts` as they are written, a column for each field; but a null key is "".

    Args:
        export: what the parts are of.
        parts: verified files.
        fields: those to read; all of the export where not given.
        lenient: what cannot be read is null instead of an error.
        marked: a further column, `unreadable`, has the names of the attributes that could not be read; NULL where all
            could.
        tagged: whether the lines have their digests in front; they become the columns `line_1` and `line_2`.
    """
    fields = export.fields if fields is None else fields
    groups: dict[tuple[Spelling, bool, str], list[Path]] = {}
    for part in parts:
        if part.lines:
            mark = identifier(UNREADABLE_MARK) if part.unreadable else "NULL::VARCHAR[]"
            key = spelling_of(export, part.spellings), part.path.suffix == ".gz", mark if marked else ""
            groups.setdefault(key, []).append(part.path)
    selects = [
        _scan_group(dict(spelling), paths, fields, packed=packed, lenient=lenient, mark=mark, tagged=tagged)
        for (spelling, packed, mark), paths in groups.items()
    ]
    return "\nUNION ALL\n".join(selects or [_nothing(fields, marked=marked, tagged=tagged)])


def digest(fields: Iterable[Field], *, marked: bool = False) -> str:
    """An expression over the columns of a scan, which may be a `marked` one: a 64-bit digest of the given fields.

    Equal digests mean equal normal forms, but for one in 2^64. Different ones mean only that the normal forms have to
    be compared: a value may be written in several ways. Only ever compared between records whose keys are equal; a key
    is never hashed.
    """
    plain = _digest(fields, _DIGESTED)
    return f"CASE WHEN unreadable IS NULL THEN {plain} ELSE hash({plain}, unreadable) END" if marked else plain


def stored_digest(fields: Iterable[Field]) -> str:
    """The same over normal forms: what `digest` will most likely be when the record is read again."""
    return _digest(fields, _DIGESTED | {Kind.TIMESTAMP: _USUAL_TIMESTAMP})


def normal_forms(fields: Iterable[Field]) -> str:
    """Expressions over the columns of a scan, named as they are: the values as they are stored and compared."""
    return ",\n    ".join(
        field.column if field.key else f"{_NORMAL_FORMS[field.kind].format(x=field.column)} AS {field.column}"
        for field in fields
    )


def _scan_group(
    spelling: Mapping[str, str],
    paths: list[Path],
    fields: Sequence[Field],
    *,
    packed: bool,
    lenient: bool,
    mark: str,
    tagged: bool,
) -> str:
    """A SELECT of the records of some parts; `mark` is what is read as `unreadable`, "" for no such column."""
    types = [
        f"{identifier(spelling[name])}: {literal(_column_type(field, name))}"
        for field in fields
        for name in field.wire_names
        if name in spelling
    ]
    if mark == identifier(UNREADABLE_MARK):
        types.append(f"{mark}: 'VARCHAR[]'")
    halves = list(zip(HALVES, LINE_COLUMNS, strict=True)) * tagged
    types += [f"{identifier(name)}: 'BIGINT'" for name, _ in halves]
    columns = ", ".join(types)
    values = [f"{_read(field, spelling, lenient=lenient)} AS {field.column}" for field in fields]
    values += [f"{identifier(name)} AS {column}" for name, column in halves]
    select = ",\n    ".join(values + ([f"{mark} AS unreadable"] if mark else []))
    files = ", ".join(literal(file_pattern(path)) for path in paths)
    size = LINE_BYTES_MAX + TAG_BYTES_MAX * tagged
    return (
        f"SELECT\n    {select}\nFROM read_json([{files}], format = 'newline_delimited',\n"
        # Never detected: from a `?` in a folder's name on, the engine takes the path for a query.
        f"    compression = '{'gzip' if packed else 'none'}', hive_partitioning = false,\n"
        f"    maximum_object_size = {size}, columns = {{{columns}}}{', ignore_errors = true' * lenient})"
    )


def _digest(fields: Iterable[Field], forms: Mapping[Kind, str]) -> str:
    columns = [forms[field.kind].format(x=field.column) for field in fields]
    return f"hash({', '.join(columns)})" if columns else "0::UBIGINT"


def _nothing(fields: Sequence[Field], *, marked: bool, tagged: bool) -> str:
    columns = [f"NULL::{COLUMN_TYPES[field.kind]} AS {field.column}" for field in fields]
    columns += [f"NULL::BIGINT AS {column}" for column in LINE_COLUMNS * tagged]
    return f"SELECT {', '.join(columns + ['NULL::VARCHAR[] AS unreadable'] * marked)} WHERE false"


def _column_type(field: Field, name: str) -> str:
    if field.kind is Kind.NUMBER:
        return "VARCHAR"
    # The non-CPE export has a single `RegistryPath`, a string, where the other has an array.
    return "VARCHAR" if field.kind is Kind.TEXT_SET and name != field.wire_names[0] else COLUMN_TYPES[field.kind]


def _read(field: Field, spelling: Mapping[str, str], *, lenient: bool) -> str:
    """The expression that reads one field under whichever of its names it goes."""
    columns = []
    for name in field.wire_names:
        if name in spelling:
            column = identifier(spelling[name])
            if field.kind is Kind.NUMBER:
                columns.append(_read_number(column, lenient=lenient))
            elif COLUMN_TYPES[field.kind] != _column_type(field, name):
                columns.append(f"CASE WHEN {column} <> '' THEN [{column}] END")
            else:
                columns.append(column)
    columns += ["''"] if field.key else []
    return f"coalesce({', '.join(columns)})" if len(columns) > 1 else columns[0]


def _read_number(column: str, *, lenient: bool) -> str:
    """An expression: the whole number that a text is, exactly as numbers are written; all else is refused."""
    number = f"try_cast({column} AS BIGINT)"
    refusal = f"error('JSON: not a whole number of 64 bits: ' || {column}[:40])::BIGINT"
    otherwise = "" if lenient else f" WHEN {column} IS NOT NULL THEN {refusal}"
    return f"CASE WHEN {number}::VARCHAR = {column} THEN {number}{otherwise} END"


# Written so that the order and the spelling that cost nothing to allow for are allowed for: the order of a set, and
# absent, null and empty.
_DIGESTED: Final = {
    Kind.TEXT: "nullif({x}, '')",
    Kind.NUMBER: "{x}",
    Kind.TEXT_SET: (
        # The length keeps a path that moves from the end of one set to the front of the next from looking the same.
        "coalesce(len({x}), 0), CASE WHEN len({x}) > 1"
        " THEN hash(list_sum(list_transform({x}, lambda item: hash(item)))) ELSE hash({x}) END"
    ),
    Kind.DATE: "nullif({x}, '')",
    Kind.TIMESTAMP: "nullif({x}, '')",
}
_USUAL_TIMESTAMP: Final = (
    "CASE WHEN {x} SIMILAR TO '\\d{{4}}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ'"
    " THEN {x}[:10] || ' ' || {x}[12:19] ELSE {x} END"
)

_DAY: Final = "\\d{4}-\\d\\d-\\d\\d"
_HOUR: Final = "([01]\\d|2[0-3])"
USUAL_MOMENT: Final = f"{_DAY} {_HOUR}:[0-5]\\d:[0-5]\\d"
"""How the service writes a time, as a rule: a pattern for all of a text."""

MOMENT: Final = f"{_DAY}[ T]{_HOUR}:[0-5]\\d(:[0-5]\\d(\\.\\d{{1,9}})?)?(Z|[+-]\\d\\d(:?\\d\\d)?)?"
"""Every way of writing a time that is read. Groups: hour, seconds with their colon, fraction, zone, its minutes."""

MOMENTS: Final = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""From the year 1 to the year 9999, as four digits tell them: in microseconds since 1970."""


def _in_template(pattern: str) -> str:
    return pattern.replace("{", "{{").replace("}", "}}")


_IS_USUAL: Final = (
    f"({{x}} SIMILAR TO '{_in_template(USUAL_MOMENT)}'"
    " AND try_cast({x} AS TIMESTAMP) >= TIMESTAMP '0001-01-01 00:00:00')"
)
_IS_TIME: Final = (
    f"({{x}} SIMILAR TO '{_in_template(MOMENT)}'"
    f" AND epoch_us(try_cast({{x}} AS TIMESTAMPTZ)) BETWEEN {MOMENTS[0]} AND {MOMENTS[1]})"
)
_TIME: Final = "make_timestamp(epoch_us(try_cast({x} AS TIMESTAMPTZ)))"

# Written so that the usual shapes take the cheap branch: each branch is worked out only for the rows it concerns.
_NORMAL_FORMS: Final = {
    Kind.TEXT: "nullif({x}, '')",
    Kind.NUMBER: "{x}",
    Kind.TEXT_SET: (
        "CASE WHEN len({x}) = 1 AND {x}[1] IS NOT NULL THEN {x}"
        " WHEN len({x}) > 0 THEN list_sort(list_distinct({x})) ELSE [] END"
    ),
    Kind.DATE: f"CASE WHEN {_IS_TIME} THEN strftime({_TIME}, '%Y-%m-%d') ELSE nullif({{x}}, '') END",
    Kind.TIMESTAMP: (
        f"CASE WHEN {_IS_USUAL} THEN {{x}}[:10] || 'T' || {{x}}[12:] || 'Z' WHEN {_IS_TIME} THEN"
        f" regexp_replace(strftime({_TIME}, '%Y-%m-%dT%H:%M:%S.%f'), '\\.?0*$', '') || 'Z' ELSE nullif({{x}}, '') END"
    ),
}
