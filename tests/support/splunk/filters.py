"""The filter before the first `|` of a Splunk search: parsed, held against an event, asked for fields.

As Splunk's documentation says: NOT before OR before AND, AND where nothing stands between two terms; values compare
without regard to case, as numbers where both are, `*` stands for anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tests.support.splunk.expressions import OPERATORS, number, text, values_of

TOKEN = re.compile(
    r'\s*(?:(?P<sign>[()])|(?P<term>[\w{}.]+)\s*(?P<compare>!=|<=|>=|[=<>])\s*(?P<value>"(?:\\.|[^"\\])*"|[^\s()]+)'
    r'|"(?P<phrase>[^"]*)"|(?P<word>[^\s()"]+))'
)


@dataclass(frozen=True)
class Filter:
    """A parsed filter: `all`, `any` or `not` of its parts; or a field compared with a value; or a text in the event."""

    kind: str
    parts: tuple[Filter, ...] = ()
    field: str = ""
    sign: str = ""
    value: str = ""

    def fields(self) -> Iterator[str]:
        """The fields that it asks for."""
        if self.kind == "field":
            yield self.field
        for part in self.parts:
            yield from part.fields()

    def accepts(self, row: Mapping[str, Any]) -> bool:
        """Whether an event passes."""
        if self.kind == "all":
            return all(part.accepts(row) for part in self.parts)
        if self.kind == "any":
            return any(part.accepts(row) for part in self.parts)
        if self.kind == "not":
            return not self.parts[0].accepts(row)
        if self.kind == "phrase":
            return self.value.lower() in str(row.get("_raw", "")).lower()
        return any(self._matches(value) for value in values_of(row.get(self.field)))

    def _matches(self, value: Any) -> bool:
        """Whether one value of the field is as asked."""
        numbers = (number(value), number(self.value))
        if self.sign in ("<", ">", "<=", ">="):
            return None not in numbers and bool(OPERATORS[self.sign](*numbers))
        equal = numbers[0] == numbers[1] if None not in numbers else self._resembles(value)
        return equal if self.sign == "=" else not equal

    def _resembles(self, value: Any) -> bool:
        pattern = re.sub(r"([\[?])", r"[\1]", self.value.lower())
        return fnmatchcase(text(value).lower(), pattern)


def parse(content: str) -> Filter:
    """A filter.

    Raises:
        AssertionError: it is none.
    """
    tokens: list[re.Match[str]] = []
    place = 0
    while content[place:].strip():
        match = TOKEN.match(content, place)
        assert match, f"no filter at {content[place:]!r}"
        tokens.append(match)
        place = match.end()
    whole = _conjunction(tokens)
    assert not tokens, f"{tokens[0].group()} is left over of {content}"
    return whole


def _conjunction(tokens: list[re.Match[str]]) -> Filter:
    """Terms that must all hold."""
    parts = [_alternatives(tokens)]
    while tokens and tokens[0]["sign"] != ")":
        if tokens[0]["word"] == "AND":
            tokens.pop(0)
        parts.append(_alternatives(tokens))
    return parts[0] if len(parts) == 1 else Filter("all", tuple(parts))


def _alternatives(tokens: list[re.Match[str]]) -> Filter:
    """Terms of which one must hold."""
    parts = [_term(tokens)]
    while tokens and tokens[0]["word"] == "OR":
        tokens.pop(0)
        parts.append(_term(tokens))
    return parts[0] if len(parts) == 1 else Filter("any", tuple(parts))


def _term(tokens: list[re.Match[str]]) -> Filter:
    """One term, with what stands before it or around it."""
    token = tokens.pop(0)
    if token["word"] == "NOT":
        return Filter("not", (_term(tokens),))
    if token["sign"] == "(":
        inner = _conjunction(tokens)
        assert tokens.pop(0)["sign"] == ")"
        return inner
    if token["term"]:
        return Filter("field", field=token["term"], sign=token["compare"], value=token["value"].strip('"'))
    return Filter("phrase", value=token["phrase"] or token["word"])
