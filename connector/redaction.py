"""Makes values safe to show: removes secrets, makes control characters visible, limits sizes.

Knows the patterns of tokens, signatures and passwords, and the characters that can control a terminal or forge a log
line. `telemetry` applies it to every log line, the command line to what it prints.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from enum import Enum
from typing import Final
from urllib.parse import quote, quote_plus

from connector.errors import ConnectorError

REMOVED: Final = "[removed]"
TEXT_CHARACTERS_MAX: Final = 8_000
TRACEBACK_CHARACTERS_MAX: Final = 32_000
ITEMS_MAX: Final = 100
DEPTH_MAX: Final = 6

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
"""A redacted value, in types that JSON can carry."""

SECRET_CHARACTERS_MIN: Final = 4
"""A shorter value is in every other word: it cannot be removed, and is no secret."""
SECRET_CHARACTERS_SAFE: Final = 8
"""From this length on, a value is removed also where it is a part of a word."""

QUERY_NAMES_KEPT: Final = frozenset({"pagesize", "$top", "sasvalidhours"})
"""Query parameters that are not secret. If a query has any other, the whole query is removed."""

SECRET_NAMES: Final = frozenset(
    {
        "access_token",
        "accountkey",
        "assertion",
        "authorization",
        "client_assertion",
        "client_secret",
        "device_code",
        "federated_token",
        "id_token",
        "password",
        "proxy_authorization",
        "refresh_token",
        "secret",
        "sharedaccesskey",
        "sig",
        "token",
    }
)
"""Names whose values are never shown, as a key of a mapping or before `=` in text."""

_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufeff\uffa0\ufff0-\ufffb"  # invisible
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, line and paragraph separators, bidirectional overrides
    "\ud800-\udfff"  # lone surrogates, which no encoding can write
    "\U000e0000-\U000e0fff]"  # tags
)

_CHUNK: Final = r"[^\s\"'<>]"
_NAMES: Final = "|".join(sorted(SECRET_NAMES - {"authorization", "proxy_authorization"}))
_JWT: Final = re.compile(r"\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_.-]+")
_WORD: Final = r"[A-Z]?[a-z]+(?:[.-][a-z]+)*[.]?(?![A-Za-z0-9._~+/=-])"
"""An ordinary word, as in "Basic Constraints of CA cert"."""
_SCHEME: Final = re.compile(rf"\b((?i:bearer|basic))(\s+)(?!{_WORD})[A-Za-z0-9._~+/=-]{{8,}}")
_QUERY: Final = re.compile(rf"(\?|%3[fF])({_CHUNK}+)")
_ASSIGNED: Final = re.compile(rf"(?i)(?<![a-z])((?:{_NAMES}|\$?skiptoken)(?:=|%3d))[^\s\"'<>&,;]+")
_QUOTED: Final = re.compile(
    rf"((\\{{0,3}}[\"'])(?i:{_NAMES})\2\s{{0,9}}:\s{{0,9}}b?)(\\{{0,3}}[\"'])(?:(?!\3)(?:\\.|.))*(\3|$)", re.DOTALL
)
_USER: Final = re.compile(r"(?<=://)[^\s/@\"'<>]+@")
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?")


def escape(text: str) -> str:
    r"""Show control, invisible and bidirectional characters as `\x1b` or `\u202e`, so that they cannot act."""
    if text.isascii() and text.isprintable():
        return text  # nearly always, and quick to check
    return _UNSAFE.sub(lambda match: _escape_character(match.group()), text)


def _escape_character(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - the widths of the three escapes


class Redactor:
    """Makes values safe to show.

    Args:
        secrets: values to remove wherever they appear, literally or as libraries quote them; short ones only as words
            of their own, and those below `SECRET_CHARACTERS_MIN` not at all.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= SECRET_CHARACTERS_MIN}
        patterns = [_pattern(form) for form in sorted(forms, key=len, reverse=True)]
        self._secrets = re.compile("|".join(patterns)) if patterns else None

    def redact(self, text: str) -> str:
        """Remove secrets, tokens, signatures and passwords from a text; line breaks and all else are kept."""
        if self._secrets:
            text = self._secrets.sub(REMOVED, text)
        text = _PRIVATE_KEY.sub(REMOVED, text)
        text = _JWT.sub(REMOVED, text)
        text = _SCHEME.sub(rf"\1\2{REMOVED}", text)
        text = _QUERY.sub(_remove_query, text)
        text = _ASSIGNED.sub(rf"\1{REMOVED}", text)
        text = _QUOTED.sub(rf"\1\3{REMOVED}\4", text)
        return _USER.sub(f"{REMOVED}@", text)

    def line(self, text: str) -> str:
        """Render a text as one line: redacted, escaped and of limited length."""
        return _cut(escape(self.redact(text)), TEXT_CHARACTERS_MAX)

    def lines(self, text: str) -> list[str]:
        """Render a text of several lines, such as a traceback: redacted as a whole, then escaped line by line."""
        return [escape(line) for line in _cut(self.redact(text), TRACEBACK_CHARACTERS_MAX).split("\n")]

    def value(self, value: object, *, depth: int = 0) -> JsonValue:
        """Convert any value to JSON types, with every text in it redacted and escaped."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self.value(value.value, depth=depth + 1)
        if isinstance(value, int | float):
            return self._number(value)
        if isinstance(value, Mapping | list | tuple | AbstractSet):
            return self._container(value, depth)
        return self.line(_text(value))

    def _number(self, value: float) -> JsonValue:
        text = _text(value)
        fits = math.isfinite(value) if isinstance(value, float) else -(2**63) <= value < 2**63
        return value if fits and self.redact(text) == text else self.line(text)

    def _container(
        self, value: Mapping[object, object] | list[object] | tuple[object, ...] | AbstractSet[object], depth: int
    ) -> JsonValue:
        if depth >= DEPTH_MAX:
            return f"({len(value)} items)"
        omitted = len(value) - ITEMS_MAX
        if isinstance(value, Mapping):
            pairs = list(value.items())[:ITEMS_MAX]
            redacted = {self.line(_text(key)): self.item(key, item, depth) for key, item in pairs}
            return redacted | ({"...": f"{omitted} more"} if omitted > 0 else {})
        items: list[JsonValue] = [self.value(item, depth=depth + 1) for item in list(value)[:ITEMS_MAX]]
        return items + ([f"{omitted} more"] if omitted > 0 else [])

    def item(self, key: object, item: object, depth: int = 0) -> JsonValue:
        """Convert a value stored under a key; it is removed if the key is the name of a secret."""
        if isinstance(key, str) and key.lower().replace("-", "_") in SECRET_NAMES:
            return REMOVED
        return self.value(item, depth=depth + 1)


def _pattern(form: str) -> str:
    """A short secret may be a part of any word, which must stay readable."""
    if len(form) >= SECRET_CHARACTERS_SAFE:
        return re.escape(form)
    return rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])"


def _forms(secret: str) -> set[str]:
    """The forms a secret may take: quoted in JSON, repr, a URL or a form; one of its lines; what follows a colon."""
    parts = {secret, secret.strip()}
    parts |= {line.strip() for line in secret.splitlines() if len(line.strip()) >= 16}  # noqa: PLR2004 - a line of a key, not a word
    user, colon, password = secret.partition(":")
    if user and colon and len(password) >= 4 and not password.startswith("//"):  # noqa: PLR2004 - shorter ones occur in any text
        parts.add(password)
    literal = {form for part in parts for form in (part, escape(part), repr(part)[1:-1])}
    literal |= {json.dumps(part, ensure_ascii=ascii_only)[1:-1] for part in parts for ascii_only in (True, False)}
    quoted = {
        form
        for part in parts
        for form in (
            quote(part, safe="", errors="replace"),
            quote(part, errors="replace"),
            quote_plus(part, errors="replace"),
        )
    }
    raw = {repr(part.encode("utf-8", "surrogatepass"))[2:-1] for part in parts}
    return (literal | quoted | raw) - {""}


def _remove_query(match: re.Match[str]) -> str:
    mark, query = match.groups()
    if "=" not in query and "%3d" not in query.lower():
        return match.group()
    names = [pair.partition("=")[0].lower() for pair in query.split("&")]
    return match.group() if all(name in QUERY_NAMES_KEPT for name in names) else f"{mark}{REMOVED}"


def _text(value: object) -> str:
    """`str` of a value that never raises: a broken `__str__` or 5,000 digits must not lose a line."""
    try:
        if isinstance(value, datetime | date):
            return value.isoformat()
        if isinstance(value, ConnectorError):
            return str(value)
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {value}"
        return str(value)
    except Exception as error:  # noqa: BLE001 - foreign code runs in `__str__`
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def _cut(text: str, characters_max: int) -> str:
    if len(text) <= characters_max:
        return text
    return f"{text[:characters_max]}... ({len(text)} characters)"
