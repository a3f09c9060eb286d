"""The expressions of Splunk's `eval` and `where`, as far as the app uses them: parsed, run on a row, asked for fields.

Written from Splunk's documentation: NOT before AND before OR; numbers compare as numbers, all else as text; nothing
compares with null. A field that holds several values is a list.
"""

from __future__ import annotations

import calendar
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

Row = dict[str, Any]
TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>"(?:\\.|[^"\\])*") | (?P<field>'[^']*') | (?P<number>\d+(?:\.\d+)?)
    | (?P<name>[A-Za-z_][\w{}:]*(?:\.[A-Za-z_][\w{}]*)*(?=\s*[^\w"'(.]|\s*$)|[A-Za-z_][\w{}:]*)
    | (?P<sign>==|!=|<=|>=|[=<>+\-*/%.(),])
    )""",
    re.VERBOSE,
)
NOW = datetime(2026, 1, 6, 14, tzinfo=UTC)
"""The time at which searches run in the tests: two hours after the last generation of the captured demo."""


class Token(NamedTuple):
    """A word of an expression."""

    kind: str
    text: str


@dataclass(frozen=True)
class Expression:
    """A parsed expression: what it does, the fields it reads, and its parts."""

    kind: str
    value: Any = None
    parts: tuple[Expression, ...] = ()

    def fields(self) -> Iterator[str]:
        """The fields that it reads."""
        if self.kind == "field":
            yield self.value
        for part in self.parts:
            yield from part.fields()

    def on(self, row: Mapping[str, Any]) -> Any:
        """Its value for a row; None is null."""
        if self.kind == "literal":
            return self.value
        if self.kind == "field":
            return row.get(self.value)
        if self.kind == "call":
            return FUNCTIONS[self.value](row, *self.parts)
        return OPERATORS[self.value](*(part.on(row) for part in self.parts))


def parse(text: str) -> Expression:
    """An expression.

    Raises:
        AssertionError: it is none.
    """
    parser = Parser(text)
    expression = parser.either()
    assert not parser.tokens, f"{parser.tokens[0]} is left over of {text}"
    return expression


class Parser:
    """Takes the tokens of one expression, the loosest binding first."""

    def __init__(self, text: str) -> None:
        self.tokens: list[Token] = []
        place = 0
        while place < len(text.rstrip()):
            match = TOKEN.match(text, place)
            assert match, f"no expression at {text[place:]!r}"
            assert match.lastgroup
            self.tokens.append(Token(match.lastgroup, match[match.lastgroup]))
            place = match.end()

    def take(self, *texts: str) -> str | None:
        """The next token where it is one of these."""
        if self.tokens and self.tokens[0].kind in ("sign", "name") and self.tokens[0].text in texts:
            return self.tokens.pop(0).text
        return None

    def chain(self, part: Callable[[], Expression], *signs: str) -> Expression:
        """Parts with signs between them, from left to right."""
        left = part()
        while sign := self.take(*signs):
            left = Expression("operator", sign, (left, part()))
        return left

    def either(self) -> Expression:
        """OR."""
        return self.chain(self.both, "OR")

    def both(self) -> Expression:
        """AND."""
        return self.chain(self.negation, "AND")

    def negation(self) -> Expression:
        """NOT."""
        if self.take("NOT"):
            return Expression("operator", "NOT", (self.negation(),))
        return self.chain(self.sum, "=", "==", "!=", "<", ">", "<=", ">=")

    def sum(self) -> Expression:
        """Addition, and a point that joins texts."""
        return self.chain(self.product, "+", "-", ".")

    def product(self) -> Expression:
        """Multiplication."""
        return self.chain(self.single, "*", "/", "%")

    def single(self) -> Expression:
        """A value, a field, a call, or something in parentheses."""
        if self.take("("):
            inner = self.either()
            assert self.take(")")
            return inner
        kind, text = self.tokens.pop(0)
        if kind == "text":
            return Expression("literal", re.sub(r'\\(["\\])', r"\1", text[1:-1]))
        if kind == "number":
            return Expression("literal", float(text))
        assert kind in ("field", "name"), text
        if kind == "name" and self.take("("):
            arguments = [] if self.take(")") else self.arguments()
            assert text in FUNCTIONS, f"{text} is no function that is known here"
            return Expression("call", text, tuple(arguments))
        return Expression("field", text.strip("'"))

    def arguments(self) -> list[Expression]:
        """What stands in a call, to its closing parenthesis."""
        arguments = [self.either()]
        while self.take(","):
            arguments.append(self.either())
        assert self.take(")")
        return arguments


def number(value: Any) -> float | None:
    """A value as a number, where it is one."""
    if isinstance(value, bool) or value is None or isinstance(value, list):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def text(value: Any) -> str:
    """A value as text: whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def values_of(value: Any) -> list[Any]:
    """All values of a field, none where it is null."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def compare(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], Any]:
    """A comparison: of numbers where both are, else of texts; true for a field of several values where it is of one."""

    def run(left: Any, right: Any) -> bool:
        for one in values_of(left):
            for other in values_of(right):
                pair = (number(one), number(other))
                if test(*(pair if None not in pair else (text(one), text(other)))):
                    return True
        return False

    return run


def arithmetic(calculate: Callable[[float, float], float]) -> Callable[[Any, Any], Any]:
    """A calculation; null where a part is no number."""

    def run(left: Any, right: Any) -> float | None:
        one, other = number(left), number(right)
        return None if one is None or other is None else calculate(one, other)

    return run


def joined(left: Any, right: Any) -> str | None:
    """Two texts after one another; null where one is."""
    return None if left is None or right is None else text(left) + text(right)


OPERATORS: dict[str, Callable[..., Any]] = {
    "OR": lambda left, right: bool(left) or bool(right),
    "AND": lambda left, right: bool(left) and bool(right),
    "NOT": lambda inner: not inner,
    "=": compare(lambda left, right: left == right),
    "==": compare(lambda left, right: left == right),
    "!=": compare(lambda left, right: left != right),
    "<": compare(lambda left, right: left < right),
    ">": compare(lambda left, right: left > right),
    "<=": compare(lambda left, right: left <= right),
    ">=": compare(lambda left, right: left >= right),
    "+": arithmetic(lambda left, right: left + right),
    "-": arithmetic(lambda left, right: left - right),
    "*": arithmetic(lambda left, right: left * right),
    "/": arithmetic(lambda left, right: left / right),
    "%": arithmetic(lambda left, right: left % right),
    ".": joined,
}


def plain(call: Callable[..., Any]) -> Callable[..., Any]:
    """A function of values."""
    return lambda row, *arguments: call(*(argument.on(row) for argument in arguments))


def case(row: Row, *arguments: Expression) -> Any:
    """The value behind the first condition that holds."""
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    return next((value.on(row) for condition, value in pairs if condition.on(row)), None)


def choose(row: Row, condition: Expression, yes: Expression, no: Expression) -> Any:
    """`if`."""
    return yes.on(row) if condition.on(row) else no.on(row)


def appended(*values: Any) -> list[Any] | None:
    """All values in one field."""
    return [one for value in values for one in values_of(value)] or None


def found(values: Any, pattern: str) -> int | None:
    """The place of the first value that matches."""
    return next((place for place, one in enumerate(values_of(values)) if re.search(pattern, text(one))), None)


def item(values: Any, place: float) -> Any:
    """One value of several."""
    every = values_of(values)
    return every[int(place)] if every else None


def replaced(value: Any, pattern: str, by: str) -> str | None:
    """A text with what matches replaced."""
    return None if value is None else re.sub(pattern, by, text(value))


def parsed_time(value: Any, form: str) -> float | None:
    """Seconds since 1970 of a text, or null where it has another form."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.strptime(value, form.replace(".%3N", ".%f"))  # noqa: DTZ007 - the form says it, or it is UTC
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def written_time(value: Any, form: str) -> str | None:
    """A text of seconds since 1970."""
    seconds = number(value)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime(form)


def moved_time(value: Any, by: str) -> float | None:
    """`+90d` and the like."""
    seconds = number(value)
    return None if seconds is None else seconds + timedelta(days=int(by.rstrip("d"))).total_seconds()


def json_value(content: Any, path: str) -> Any:
    """The value at a path of a JSON text: of an array or an object, its text."""
    value = json.loads(content)
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value).lower() if isinstance(value, bool) else value


def rounded(value: Any, digits: float = 0) -> float | None:
    """A number of so many digits behind the point."""
    given = number(value)
    return None if given is None else round(given, int(digits))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "case": case,
    "if": choose,
    "coalesce": plain(lambda *values: next((value for value in values if value is not None), None)),
    "isnull": plain(lambda value: value is None),
    "isnotnull": plain(lambda value: value is not None),
    "isnum": plain(lambda value: number(value) is not None),
    "json_extract": plain(json_value),
    "md5": plain(lambda value: None if value is None else hashlib.md5(text(value).encode()).hexdigest()),  # noqa: S324 - Splunk's
    "mvappend": plain(appended),
    "mvfind": plain(found),
    "mvindex": plain(item),
    "now": plain(lambda: float(calendar.timegm(NOW.timetuple()))),
    "null": plain(lambda: None),
    "relative_time": plain(moved_time),
    "replace": plain(replaced),
    "round": plain(rounded),
    "strftime": plain(written_time),
    "strptime": plain(parsed_time),
    "true": plain(lambda: True),
}
