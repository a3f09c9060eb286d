"""A pipeline of Logstash, read: the part of its language that `deploy/sentinel/logstash.conf` uses."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

TOKEN: Final = re.compile(
    r"""
    \s+ | \#[^\n]*                                  # between the words
    | (?P<string> "(?:[^"\\]|\\.)*")
    | (?P<regex> /(?:[^/\\]|\\.)+/)
    | (?P<field> (?:\[@?[\w.-]+\])+ (?=\s*=~))      # of an event, in a condition
    | (?P<mark> => | =~ | [{}\[\],])
    | (?P<word> [\w.-]+)
    """,
    re.VERBOSE,
)


class Plugin(NamedTuple):
    """A plugin of a section, with the field and the pattern that an event must match to reach it."""

    section: str
    name: str
    settings: dict[str, Any]
    condition: tuple[str, str] | None = None


class Reader:
    """Reads a pipeline from its start."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        end = 0
        while end < len(text):
            match = TOKEN.match(text, end)
            if match is None:
                raise ValueError(f"not the language of Logstash: {text[end : end + 40]!r}")
            if match.lastgroup:
                self._tokens.append((match.lastgroup, match[match.lastgroup]))
            end = match.end()
        self._position = 0

    def _next(self, expected: str | None = None) -> tuple[str, str]:
        kind, text = self._tokens[self._position]
        if expected not in (None, kind, text):
            raise ValueError(f"{text!r} where {expected!r} belongs")
        self._position += 1
        return kind, text

    def _is_next(self, text: str) -> bool:
        return self._position < len(self._tokens) and self._tokens[self._position][1] == text

    def plugins(self) -> list[Plugin]:
        """Every plugin of the pipeline, in order."""
        found: list[Plugin] = []
        while self._position < len(self._tokens):
            _, section = self._next("word")
            if section not in ("input", "filter", "output"):
                raise ValueError(f"no section {section!r}")
            self._next("{")
            while not self._is_next("}"):
                found += self._statement(section)
            self._next("}")
        return found

    def _statement(self, section: str) -> list[Plugin]:
        if self._is_next("else"):
            self._next()
        if not self._is_next("if"):
            return [Plugin(section, *self._plugin())]
        self._next()
        (_, field), _, (_, pattern) = self._next("field"), self._next("=~"), self._next("regex")
        self._next("{")
        inner = []
        while not self._is_next("}"):
            inner.append(Plugin(section, *self._plugin(), (field, pattern[1:-1])))
        self._next("}")
        return inner

    def _plugin(self) -> tuple[str, dict[str, Any]]:
        _, name = self._next("word")
        self._next("{")
        settings: dict[str, Any] = {}
        while not self._is_next("}"):
            _, key = self._next("word")
            if key in settings:
                raise ValueError(f"{key!r} twice in {name!r}")
            self._next("=>")
            settings[key] = self._value()
        self._next("}")
        return name, settings

    def _value(self) -> Any:
        kind, text = self._tokens[self._position]
        if text == "[":
            return self._array()
        if kind == "word" and self._tokens[self._position + 1][1] == "{":
            return self._plugin()
        self._next()
        if kind == "string":
            return text[1:-1]
        return {"true": True, "false": False}.get(text, text)

    def _array(self) -> list[Any]:
        self._next("[")
        values = [self._value()]
        while self._is_next(","):
            self._next()
            values.append(self._value())
        self._next("]")
        return values
