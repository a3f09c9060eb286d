"""Splunk searches, as far as the app uses them: split into commands, run over events, and asked for their fields.

Every command knows which fields it reads and which there are behind it, so that a field that nobody makes is found
without an event; and it runs over rows, so that a search can be seen to find what it is for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.support.splunk import expressions, filters
from tests.support.splunk.expressions import Expression, Row, number, text, values_of

Lookups = dict[str, dict[str, Row]]
"""The collections of the KV store: rows by key."""

WORD = re.compile(r'"([^"]*)"|([^\s,]+)')
AGGREGATE = re.compile(r"(\w+)(?:\((.*)\))?(?: AS (\w+))?")


@dataclass
class Known:
    """The fields that there are at a place of a search, and those that were asked for and are not there."""

    fields: set[str]
    missing: set[str] = field(default_factory=set)

    def read(self, names: Iterable[str]) -> None:
        """Note what is not there."""
        self.missing |= set(names) - self.fields


@dataclass(frozen=True)
class Command:
    """One command: its effect on the fields and on the rows."""

    name: str
    know: Callable[[Known], None]
    run: Callable[[list[Row], Lookups], list[Row]]


@dataclass(frozen=True)
class Search:
    """A whole search; without a filter where it begins with a generating command."""

    filter: filters.Filter | None
    commands: tuple[Command, ...]

    def missing(self, fields: Iterable[str]) -> set[str]:
        """What it asks for that neither the events have nor it makes itself."""
        known = Known(set(fields))
        known.read(self.filter.fields() if self.filter else ())
        for command in self.commands:
            command.know(known)
        return known.missing

    def accepted(self, events: Iterable[Row]) -> list[Row]:
        """The events that pass its filter, the newest first, as Splunk delivers them."""
        passed = [dict(event) for event in events if self.filter is None or self.filter.accepts(event)]
        return sorted(passed, key=lambda event: -float(event["_time"]))

    def run(self, events: Iterable[Row], lookups: Lookups) -> list[Row]:
        """Its rows."""
        rows = self.accepted(events) if self.filter else []
        for command in self.commands:
            rows = command.run(rows, lookups)
        return rows


def parse(search: str) -> Search:
    """A search without macros.

    Raises:
        AssertionError: it has something that is not known here.
    """
    first, *rest = split(search, "|")
    commands = tuple(parse_command(part.strip()) for part in rest)
    return Search(filters.parse(first) if first.strip() else None, commands)


def parse_command(content: str) -> Command:
    """A command by its name."""
    name, _, arguments = content.partition(" ")
    assert name in COMMANDS, f"{name} is no command that is known here"
    return Command(name, *COMMANDS[name](arguments.strip()))


def split(content: str, sign: str) -> list[str]:
    """The parts between signs that stand in no quotes, parentheses or brackets."""
    parts, depth, quoted, escaped = [""], 0, False, False
    for letter in content:
        quoted ^= letter == '"' and not escaped
        escaped = letter == "\\" and not escaped
        if not quoted:
            depth += (letter in "([") - (letter in ")]")
        if letter == sign and not quoted and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def words(content: str) -> list[str]:
    """Words between blanks or commas."""
    return [quoted or word for quoted, word in WORD.findall(content)]


Parsed = tuple[Callable[[Known], None], Callable[[list[Row], Lookups], list[Row]]]


def _search(arguments: str) -> Parsed:
    condition = filters.parse(arguments)
    return lambda known: known.read(condition.fields()), lambda rows, _: [row for row in rows if condition.accepts(row)]


def _where(arguments: str) -> Parsed:
    condition = expressions.parse(arguments)
    return lambda known: known.read(condition.fields()), lambda rows, _: [row for row in rows if condition.on(row)]


def _eval(arguments: str) -> Parsed:
    parts = [part.partition("=") for part in split(arguments, ",")]
    pairs = [(name.strip(), expressions.parse(value)) for name, _, value in parts]

    def know(known: Known) -> None:
        for name, expression in pairs:
            known.read(expression.fields())
            known.fields.add(name)

    def run(rows: list[Row], _: Lookups) -> list[Row]:
        for name, expression in pairs:
            for row in rows:
                row[name] = expression.on(row)
        return rows

    return know, run


def _dedup(arguments: str) -> Parsed:
    names = words(arguments)

    def run(rows: list[Row], _: Lookups) -> list[Row]:
        kept: dict[tuple[str, ...], Row] = {}
        for row in rows:
            if all(row.get(name) is not None for name in names):
                kept.setdefault(tuple(text(row[name]) for name in names), row)
        return list(kept.values())

    return lambda known: known.read(names), run


def _table(arguments: str) -> Parsed:
    names = words(arguments)

    def know(known: Known) -> None:
        known.read(names)
        known.fields = set(names)

    return know, lambda rows, _: [{name: row.get(name) for name in names} for row in rows]


def _fields(arguments: str) -> Parsed:
    names = set(words(arguments.removeprefix("- ")))
    assert arguments.startswith("- ")

    def know(known: Known) -> None:
        known.read(names)
        known.fields -= names

    return know, lambda rows, _: [{name: row[name] for name in row if name not in names} for row in rows]


def _sort(arguments: str) -> Parsed:
    _, *rest = words(arguments.replace("- ", "-"))
    keys = [(name.removeprefix("-"), name.startswith("-")) for name in rest]

    def run(rows: list[Row], _: Lookups) -> list[Row]:
        for name, descending in reversed(keys):
            rows.sort(key=partial(_place, name), reverse=descending)
        return rows

    return lambda known: known.read(name for name, _ in keys), run


def _place(name: str, row: Row) -> tuple[int, float, str]:
    """Nothing, then numbers, then texts."""
    value = row.get(name)
    amount = number(value)
    return (0, 0, "") if value is None else (1, amount, "") if amount is not None else (2, 0, text(value))


def _head(arguments: str) -> Parsed:
    return lambda _: None, lambda rows, _: rows[: int(arguments)]


def _mvexpand(arguments: str) -> Parsed:
    def run(rows: list[Row], _: Lookups) -> list[Row]:
        return [{**row, arguments: value} for row in rows for value in values_of(row.get(arguments))]

    return lambda known: known.read([arguments]), run


def _rex(arguments: str) -> Parsed:
    pattern = re.compile(arguments.strip('"').replace("(?<", "(?P<"))

    def run(rows: list[Row], _: Lookups) -> list[Row]:
        return [row | (match.groupdict() if (match := pattern.search(row["_raw"])) else {}) for row in rows]

    return lambda known: known.fields.update(pattern.groupindex), run


@dataclass(frozen=True)
class Aggregate:
    """`dc(deviceId) AS devices`: a function, what it is of, and its name."""

    function: str
    of: Expression | None
    name: str

    @classmethod
    def parse_all(cls, content: str) -> Iterator[Aggregate]:
        """All of a list."""
        for part in split(content, ","):
            match = AGGREGATE.fullmatch(part.strip())
            assert match, f"no aggregate: {part}"
            name, inner, alias = match.groups()
            calculated = re.fullmatch(r"eval\((.*)\)", inner or "")
            of = expressions.parse(calculated[1] if calculated else inner) if inner else None
            yield cls(name, of, alias or (f"{name}({inner})" if inner else name))

    def over(self, rows: Sequence[Row]) -> Any:
        """Its value for a group of rows, the newest first."""
        if self.of is None:
            assert self.function == "count"
            return float(len(rows))
        values = [one for row in rows for one in values_of(self.of.on(row))]
        return AGGREGATES[self.function](values)


def _extreme(choose: Callable[..., Any]) -> Callable[[list[Any]], Any]:
    """The largest or smallest: of numbers where there are some, else of texts."""

    def run(values: list[Any]) -> Any:
        numbers = [amount for value in values if (amount := number(value)) is not None]
        texts = [text(value) for value in values if value != "null"]
        return choose(numbers or texts, default=None)

    return run


AGGREGATES: dict[str, Callable[[list[Any]], Any]] = {
    "count": lambda values: float(sum(value is not False for value in values)),
    "dc": lambda values: float(len({text(value) for value in values})),
    "values": lambda values: sorted({text(value) for value in values}) or None,
    "latest": lambda values: values[0] if values else None,
    "max": _extreme(max),
    "min": _extreme(min),
}


def _stats(arguments: str) -> Parsed:
    wanted, _, by = arguments.partition(" BY ")
    aggregates, names = list(Aggregate.parse_all(wanted)), words(by)

    def know(known: Known) -> None:
        known.read(names)
        for aggregate in aggregates:
            known.read(aggregate.of.fields() if aggregate.of else ())
        known.fields = {*names, *(aggregate.name for aggregate in aggregates)}

    def run(rows: list[Row], _: Lookups) -> list[Row]:
        groups: dict[tuple[Any, ...], list[Row]] = {} if names else {(): []}
        for row in rows:
            if all(row.get(name) is not None for name in names):
                groups.setdefault(tuple(text(row[name]) for name in names), []).append(row)
        return [
            dict(zip(names, key, strict=True)) | {aggregate.name: aggregate.over(group) for aggregate in aggregates}
            for key, group in groups.items()
        ]

    return know, run


def _timechart(arguments: str) -> Parsed:
    match = re.fullmatch(r"span=1d count BY (\w+)", arguments)
    assert match, arguments
    stats = _stats(f"count BY day {match[1]}")

    def run(rows: list[Row], lookups: Lookups) -> list[Row]:
        days = [row | {"day": text(number(row["_time"]) // 86_400 * 86_400)} for row in rows]  # type: ignore[operator]
        return stats[1](days, lookups)

    return lambda known: known.read(["_time", match[1]]), run


def _lookup(arguments: str) -> Parsed:
    match = re.fullmatch(r"(\w+) _key AS (\w+) OUTPUT (\w+) AS (\w+)", arguments)
    assert match, arguments
    name, key, column, alias = match.groups()

    def know(known: Known) -> None:
        known.read([key])
        known.fields.add(alias)

    def run(rows: list[Row], lookups: Lookups) -> list[Row]:
        return [row | {alias: lookups[name].get(row[key], {}).get(column)} for row in rows]

    return know, run


def _inputlookup(arguments: str) -> Parsed:
    def know(known: Known) -> None:
        known.fields = known.fields | COLUMNS[arguments]

    return know, lambda _, lookups: [{"_key": key} | row for key, row in lookups[arguments].items()]


def _outputlookup(arguments: str) -> Parsed:
    match = re.fullmatch(r"append=true key_field=(\w+) (\w+)", arguments)
    assert match, arguments
    key, name = match.groups()

    def run(rows: list[Row], lookups: Lookups) -> list[Row]:
        for row in rows:
            lookups[name][row[key]] = {column: row.get(column) for column in COLUMNS[name] - {"_key"}}
        return rows

    return lambda known: known.read([key]), run


def _appendpipe(arguments: str) -> Parsed:
    inner = parse(f"| {arguments.removeprefix('[').removesuffix(']').strip()}")

    def know(known: Known) -> None:
        behind = Known(set(known.fields))
        for command in inner.commands:
            command.know(behind)
        known.missing |= behind.missing
        known.fields |= behind.fields

    def run(rows: list[Row], lookups: Lookups) -> list[Row]:
        extra = [dict(row) for row in rows]
        for command in inner.commands:
            extra = command.run(extra, lookups)
        return rows + extra

    return know, run


COLUMNS: dict[str, set[str]] = {}
"""The columns of each lookup, from the app's transforms.conf."""


def declare(columns: Mapping[str, Iterable[str]]) -> None:
    """Say which lookups there are."""
    COLUMNS.update({name: set(every) for name, every in columns.items()})


COMMANDS: dict[str, Callable[[str], Parsed]] = {
    "appendpipe": _appendpipe,
    "dedup": _dedup,
    "eval": _eval,
    "fields": _fields,
    "head": _head,
    "inputlookup": _inputlookup,
    "lookup": _lookup,
    "mvexpand": _mvexpand,
    "outputlookup": _outputlookup,
    "rex": _rex,
    "search": _search,
    "sort": _sort,
    "stats": _stats,
    "table": _table,
    "timechart": _timechart,
    "where": _where,
}
