from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import SourceUnavailable
from connector.redaction import REMOVED, Redactor, escape

JWT = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJhYmMifQ.c2lnbmF0dXJl-_x"
SIGNATURE = "aB3%2Fdef%2Bghi%3D"
CANARY = 'c4n"ary \\p+w/d:é%ß=!'

secrets = st.text(min_size=8, max_size=40).filter(lambda text: text.strip() == text and text not in REMOVED)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nothing to hide", "nothing to hide"),
        (f"Authorization: Bearer {JWT}", "Authorization: Bearer [removed]"),
        ("Basic dXNlcjpwYXNzd29yZA==", "Basic [removed]"),
        ("basic authentication failed", "basic authentication failed"),
        ("Basic Constraints of CA cert not marked critical", "Basic Constraints of CA cert not marked critical"),
        ("client_secret: is missing", "client_secret: is missing"),
        (f"the token was {JWT}.", "the token was [removed]"),
        (f"https://a.blob.core.windows.net/c/a.gz?sv=1&sig={SIGNATURE}", "https://a.blob.core.windows.net/c/a.gz?[removed]"),
        (f'"GET /a.gz?sv=2020&sig={SIGNATURE} HTTP/1.1" 403 None', '"GET /a.gz?[removed] HTTP/1.1" 403 None'),
        ("https://api/x?pageSize=5000&$skiptoken=eyJFeHBvcnQiOjF9", "https://api/x?[removed]"),
        ("https://api/x?pageSize=5000&sasValidHours=6", "https://api/x?pageSize=5000&sasValidHours=6"),
        ("https%3A%2F%2Fhost%2Fa%3Fsv%3D1%26sig%3DaB3", "https%3A%2F%2Fhost%2Fa%3F[removed]"),
        ("sv=2020&sig=aB3%3D&se=2026", "sv=2020&sig=[removed]&se=2026"),
        (r"{\u0022u\u0022: 1}\u0026sig=aB3", r"{\u0022u\u0022: 1}\u0026sig=[removed]"),
        ("is this it? yes", "is this it? yes"),
        ("grant_type=x&client_secret=s%3D1&scope=y", "grant_type=x&client_secret=[removed]&scope=y"),
        ('{"access_token": "abc.def", "expires_in": 3599}', '{"access_token": "[removed]", "expires_in": 3599}'),
        ("{'password': 'it\\'s', 'user': 'u'}", "{'password': '[removed]', 'user': 'u'}"),
        (r'{\"refresh_token\":\"0.AXoA\",\"x\":1}', r'{\"refresh_token\":\"[removed]\",\"x\":1}'),
        ('{"access_token": "cut in the mid', '{"access_token": "[removed]'),
        ("proxy http://user:pa55@proxy:3128 refused", "proxy http://[removed]@proxy:3128 refused"),
        ("Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=k3y=;E=1", "Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=[removed];E=1"),
        ("-----BEGIN PRIVATE KEY-----\nMIIB\nabc\n-----END PRIVATE KEY-----\nrest", "[removed]\nrest"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIB\ncut", "[removed]"),
    ],
)  # fmt: skip
def test_tokens_signatures_and_passwords_go_and_the_rest_stays(text: str, shown: str) -> None:
    """What looks like a secret is removed without being configured; words around it can still be read."""
    assert Redactor().redact(text) == shown


@pytest.mark.parametrize(
    "form",
    [
        str,
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        repr,
        lambda text: repr(text.encode()),
        lambda text: quote(text, safe=""),
        quote,
        quote_plus,
        escape,
    ],
    ids=["plain", "json", "json with letters", "repr", "bytes", "quoted", "path", "form", "escaped"],
)
def test_a_configured_secret_is_removed_however_it_is_quoted(form: Callable[[str], str]) -> None:
    """A secret is found as it is, and as JSON, repr, bytes, URLs and forms spell it."""
    spelled = form(CANARY).strip("\"'b")
    assert Redactor([CANARY]).redact(f"before {spelled} after") == f"before {REMOVED} after"


def test_the_password_of_a_user_and_password_pair_is_a_secret_of_its_own() -> None:
    """`basic.auth.user.info` holds both; a library that shows the password alone does not betray it."""
    assert Redactor(["reader:s3cret"]).redact("login of reader with s3cret") == f"login of reader with {REMOVED}"


def test_a_line_of_a_secret_of_several_lines_is_removed() -> None:
    """A key in PEM is no less secret for being shown line by line."""
    assert (
        Redactor(["-----BEGIN-----\nMIIBVgIBADANBgkqhkiG\n-----END-----"]).redact("x MIIBVgIBADANBgkqhkiG")
        == f"x {REMOVED}"
    )


@given(secrets, st.text(max_size=30), st.text(max_size=30))
def test_no_value_of_any_shape_shows_a_secret(secret: str, before: str, after: str) -> None:
    """Wherever it is put (keys, lists, exceptions, bytes, deep down), the secret is not in what is shown."""
    text = f"{before}{secret}{after}"
    value = {
        "text": text,
        text: 1,
        "nested": [{"deep": ({text}, [text])}],
        "error": ValueError(text),
        "ours": SourceUnavailable(text),
        "bytes": text.encode("utf-8", "surrogatepass"),
        "object": type("Odd", (), {"__str__": lambda _self: text})(),
    }
    shown = json.dumps(Redactor([secret]).value(value), ensure_ascii=False)
    assert (secret in shown, secret in str(json.loads(shown))) == (False, False)


def test_the_value_of_a_secret_name_is_not_shown_whatever_it_is() -> None:
    """Headers and forms are recognised by their names, in any case and depth."""
    value = {"headers": {"Authorization": "whatever", "Accept": "json"}, "PASSWORD": 12345, "client-secret": None}
    assert Redactor().value(value) == {
        "headers": {"Authorization": REMOVED, "Accept": "json"},
        "PASSWORD": REMOVED,
        "client-secret": REMOVED,
    }


def test_values_keep_their_types_where_json_has_them() -> None:
    """Numbers stay numbers and nothing stays nothing; what JSON has no word for becomes text."""

    class Word(StrEnum):
        ONE = "one"

    shown = Redactor(["4711"]).value([1, 2.5, True, None, Word.ONE, float("nan"), 10**30, 4711, b"\x00", (1, 2)])
    assert shown == [1, 2.5, True, None, "one", "nan", str(10**30), REMOVED, r"b'\x00'", [1, 2]]


def test_sizes_are_limited_and_say_what_is_missing() -> None:
    """A device name of a megabyte, a list of ten thousand paths and endless nesting do not flood a log."""
    nested: list[object] = []
    for _ in range(50):
        nested = [nested]
    shown = Redactor().value({"long": "x" * 1_000_000, "many": list(range(10_000)), "nested": nested})
    assert isinstance(shown, dict)
    assert shown["long"] == "x" * 8_000 + "... (1000000 characters)"
    assert shown["many"] == [*range(100), "9900 more"]
    assert shown["nested"] == [[[[["(1 items)"]]]]]


def test_a_value_that_cannot_be_shown_is_named() -> None:
    """An object whose text fails does not cost the line."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert Redactor().value([Broken(), ValueError(Broken())]) == [
        "<Broken that cannot be shown: RuntimeError>",
        "<ValueError that cannot be shown: RuntimeError>",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("two\r\nlines\x00", r"two\x0d\x0alines\x00"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("exe\u202egpj.", r"exe\u202egpj."),
        ("a\u2028b\u200bc\ufeff", r"a\u2028b\u200bc\ufeff"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("Größe 漢字 😀 عربي", "Größe 漢字 😀 عربي"),
        (r"C:\Program Files", r"C:\Program Files"),
    ],
)
def test_what_drives_a_terminal_is_made_visible_and_letters_stay(text: str, shown: str) -> None:
    """Control, invisible and bidirectional characters are escaped; every script and emoji stays readable."""
    assert escape(text) == shown


@given(st.text())
def test_escaped_text_is_one_line_without_control_or_direction(text: str) -> None:
    """Whatever came in, nothing is left that moves a cursor, ends a line or turns the direction."""
    shown = escape(text)
    directions = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    left = [
        character
        for character in shown
        if unicodedata.category(character) in {"Cc", "Zl", "Zp", "Cs"}
        or unicodedata.bidirectional(character) in directions
    ]
    assert (left, len(shown.splitlines()) <= 1) == ([], True)


@pytest.mark.parametrize(
    "piece",
    [
        "?",
        "%3F",
        "eyJ",
        "eyJa.",
        "Bearer ",
        "password=",
        '"password":"',
        '"password"      ',
        "://",
        "-----BEGIN PRIVATE KEY-----",
        "\\",
        '"',
        "s3cre",
    ],
)
def test_hostile_text_is_looked_at_in_linear_time(piece: str) -> None:
    """Half a megabyte made to confuse one of the patterns takes seconds, not hours, of the processor."""
    begun = time.process_time()
    Redactor(["s3cret"]).line(piece * (500_000 // len(piece)))
    assert time.process_time() - begun < 20


def test_a_short_secret_is_removed_as_a_word_and_leaves_the_others_readable() -> None:
    """One of fewer than four characters cannot be removed at all."""
    redactor = Redactor(["pass", "a", "no"])
    assert redactor.redact("no password, a passage: pass!") == "no password, a passage: [removed]!"
