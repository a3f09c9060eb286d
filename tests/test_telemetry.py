from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.errors import ConfigError, SourceDenied, SourceUnavailable
from connector.service.endpoint import ProbeResponse, ProbeServer
from connector.telemetry import Level, LogFormat, bind_tenant, configure, logger, remove_secrets
from tests.support.logs import restored

CANARY = "c4nary-s3cret-value"
SIGNATURE = "c4narySignature%2Babc%3D"
SAS_QUERY = f"sv=2022-11-02&se=2026-11-23T09%3A00%3A00Z&sr=b&sig={SIGNATURE}"
ROOT = Path(__file__).parents[1]

log = logger("connector.test")


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    """Leave the interpreter's logging as it was found."""
    with restored():
        yield


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was written to stderr, its time replaced by TIME; nothing may go to stdout."""

    def read() -> str:
        out, err = capsys.readouterr()
        assert out == ""
        return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME", err)

    return read


def events(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a log, a line each."""
    return [json.loads(line) for line in text.splitlines()]


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a separate program, since the interpreter's hooks and the first import can only be seen there."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=60,
    )


def test_a_logger_is_silent_until_logging_is_configured() -> None:
    """Importing the package and logging from it writes nothing by itself."""
    ran = run_python("from connector.telemetry import logger; logger('connector.x').error('nobody asked', key=1)")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_the_console_form_is_one_line_for_people(written: Callable[[], str]) -> None:
    """Time, level, logger, event and the values; what has blanks is quoted."""
    configure("console")
    log.info("poll finished", added=3, name="two words", share=0.25, nothing=None, folder=Path("/var/lib"))
    assert written() == (
        'TIME info    connector.test poll finished added=3 name="two words" share=0.25 nothing=null folder=/var/lib\n'
    )


def test_the_json_form_is_one_object_a_line(written: Callable[[], str]) -> None:
    """Machines get the same, with types; the time is ISO 8601 in UTC."""
    configure("json")
    log.warning("held", records=3, at=datetime(2026, 11, 23, 8, tzinfo=UTC), ids=["a", "b"])
    assert events(written()) == [
        {
            "timestamp": "TIME",
            "level": "warning",
            "logger": "connector.test",
            "event": "held",
            "records": 3,
            "at": "2026-11-23T08:00:00+00:00",
            "ids": ["a", "b"],
        }
    ]


def test_a_value_cannot_take_the_place_of_time_level_or_logger(written: Callable[[], str]) -> None:
    """A value that is named like a part of the head does not replace it."""
    configure("json")
    log.info("event", timestamp="x", level="error", logger="other")
    assert events(written()) == [
        {"timestamp": "TIME", "level": "info", "logger": "connector.test", "event": "event"},
    ]


def test_bound_values_stay_with_a_logger(written: Callable[[], str]) -> None:
    """`bind` gives a logger that says more."""
    configure("json")
    log.bind(tenant="t").info("event")
    assert events(written())[0]["tenant"] == "t"


def test_what_a_tenants_thread_writes_is_named_after_it(written: Callable[[], str]) -> None:
    """Ours and a library's lines alike, whatever else runs meanwhile; afterwards the name is gone."""
    configure("json")
    both_named = threading.Barrier(2, timeout=10)

    def work(tenant: str) -> None:
        with bind_tenant(tenant):
            both_named.wait()
            log.info("ours")
            logging.getLogger("library").warning("a library's")
        log.info("after")

    threads = [threading.Thread(target=work, args=(tenant,)) for tenant in ("contoso", "fabrikam")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    named = sorted((event["event"], event.get("tenant", "")) for event in events(written()))
    assert named == [
        ("a library's", "contoso"), ("a library's", "fabrikam"), ("after", ""), ("after", ""), ("ours", "contoso"),
        ("ours", "fabrikam"),
    ]  # fmt: skip


def test_what_is_less_important_than_the_level_is_not_written(written: Callable[[], str]) -> None:
    """The level holds for our loggers."""
    configure("json", "warning")
    for write in (log.debug, log.info, log.warning, log.error):
        write("event")
    assert [event["level"] for event in events(written())] == ["warning", "error"]


def test_libraries_are_logged_from_warning_on_and_at_debug_in_full(written: Callable[[], str]) -> None:
    """At info a library's chatter stays away; at debug it is there, through the same chain."""
    lines = {}
    levels: tuple[Level, ...] = ("info", "debug")
    for level in levels:
        configure("json", level)
        for name in ("urllib3.connectionpool", "msal.application", "librdkafka"):
            logging.getLogger(name).debug("secret is %s", "x")
            logging.getLogger(name).warning("secret is %s", "x")
        lines[level] = [(event["logger"], event["level"]) for event in events(written())]
    assert lines["info"] == [(name, "warning") for name in ("urllib3.connectionpool", "msal.application", "librdkafka")]
    assert lines["debug"] == [
        (name, level)
        for name in ("urllib3.connectionpool", "msal.application", "librdkafka")
        for level in ("debug", "warning")
    ]


def test_the_last_configuration_counts(written: Callable[[], str]) -> None:
    """Configuring again replaces; no line is written twice."""
    configure("console", "debug")
    configure("json", "info")
    log.debug("not shown")
    log.info("shown once")
    assert [event["event"] for event in events(written())] == ["shown once"]


@pytest.mark.parametrize(("log_format", "level"), [("xml", "info"), ("json", "trace")])
def test_an_unknown_format_or_level_is_refused(log_format: str, level: str) -> None:
    """A wrong word is a configuration error that names the right ones."""
    with pytest.raises(ConfigError) as caught:
        configure(log_format, level)  # type: ignore[arg-type]  # what no type checker saw
    assert caught.value.hint.startswith("Allowed are ")


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_only(environment: dict[str, str], *, coloured: bool) -> None:
    """On a terminal the level is coloured, unless NO_COLOR is set or the terminal is dumb."""
    main, terminal = pty.openpty()
    code = "from connector.telemetry import *; configure('console'); logger('connector.x').info('event')"
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            stderr=terminal,
            check=True,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", **environment},
            timeout=60,
        )
        seen = os.read(main, 10_000).decode()
    finally:
        os.close(main)
        os.close(terminal)
    assert ("event" in seen, "\x1b[32m" in seen) == (True, coloured)


# ---- secrets


def _raise_chain(url: str) -> None:
    """What a seam does with a library's failure; requests puts the whole URL into its message."""
    try:
        requests.get(url, timeout=5)
    except requests.RequestException as error:
        raise SourceUnavailable(f"cannot reach the storage: {error}", hint=f"Is it {CANARY}?") from error


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_no_secret_is_written_at_any_level(log_format: LogFormat, level: Level, written: Callable[[], str]) -> None:
    """A failed download with a signed URL, real library logs, nested values: no signature and no secret anywhere."""
    configure(log_format, level, [CANARY])
    with ProbeServer(("127.0.0.1", 0), {"/part": lambda: ProbeResponse(HTTPStatus.OK, b"{}")}) as server:
        requests.get(f"http://127.0.0.1:{server.address[1]}/part?{SAS_QUERY}", timeout=5).close()
    with pytest.raises(SourceUnavailable) as caught:
        _raise_chain(f"http://127.0.0.1:{server.address[1]}/part?{SAS_QUERY}")
    error = caught.value
    log.error("poll failed", error=error)
    log.error("poll failed", url=f"https://x/?{SAS_QUERY}", nested={"list": [error, {CANARY: [CANARY]}]})
    logging.getLogger("library").error("failed with %s", CANARY, exc_info=error)
    log.debug("cause", error=error.__cause__, query=SAS_QUERY)
    text = written()
    assert "poll failed" in text
    assert [secret for secret in (CANARY, SIGNATURE, "c4nary") if secret in text] == []
    assert ("GET /part?[removed] HTTP/1.1" in text.replace('\\"', '"')) == (level == "debug")


def test_a_secret_in_an_uncaught_error_is_not_shown() -> None:
    """The interpreter's own report of an error, in a thread or of the program, would show the secret: ours does not."""
    ran = run_python(
        "import threading\n"
        "from connector.telemetry import configure\n"
        f"configure('json', 'info', ['{CANARY}'])\n"
        "secret = 'c4nary' + '-s3cret-value'\n"
        "def fail(): raise ValueError(secret)\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "fail()\n"
    )
    assert (ran.returncode, ran.stdout, CANARY in ran.stderr) == (1, "", False)
    assert [(event["event"], event["error"]) for event in events(ran.stderr)] == [
        ("uncaught exception in a thread", "ValueError: [removed]"),
        ("uncaught exception", "ValueError: [removed]"),
    ]


def test_warnings_take_the_same_way(written: Callable[[], str]) -> None:
    """A library's warning is a log line, without secrets."""
    configure("json", "info", [CANARY])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"old {CANARY}", stacklevel=1)
    assert [(event["logger"], CANARY in event["event"]) for event in events(written())] == [("py.warnings", False)]


def test_what_is_shown_elsewhere_loses_the_same_secrets() -> None:
    """Answers over HTTP go through `remove_secrets`, which knows what was configured."""
    configure("json", "info", [CANARY])
    assert remove_secrets({"message": f"x {CANARY}"}) == {"message": "x [removed]"}


# ---- forging


@pytest.mark.parametrize(
    "name",
    [
        "pc\n2026-01-01T00:00:00.000Z error connector.sink fenced",
        "pc\r\x1b[2K\x1b[1Aerased",
        'pc outcome=published level=error event="x"',
        'pc" outcome="published',
        "pc\u202egnp.exe",
        "pc\x9b31m\x85",
        "pc\u2028next",
    ],
)
def test_a_device_name_cannot_forge_a_line_or_a_value(name: str, written: Callable[[], str]) -> None:
    """Line breaks, escapes, overrides and quotes in a name stay inside its value, on one line."""
    configure("console")
    log.info("event", device=name, after=1)
    line = written()
    shown = re.fullmatch(r'TIME info    connector\.test event device=("(?:[^"\\]|\\.)*"|[^\s"]+) after=1\n', line)
    assert shown is not None
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", line) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(), key=st.from_regex(r"[a-z_]{1,10}\n?", fullmatch=True))
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_log_call_is_one_line_whatever_it_says(
    log_format: LogFormat, name: str, key: str, written: Callable[[], str]
) -> None:
    """Any text as event, value or key gives exactly one line, and in JSON one object that begins with the head."""
    configure(log_format)
    log.info(name, **{key: name})
    line = written()
    assert (line.count("\n"), len(line.splitlines())) == (1, 1)
    if log_format == "json":
        assert list(json.loads(line))[:4] == ["timestamp", "level", "logger", "event"]


def test_every_line_of_a_traceback_is_marked(written: Callable[[], str]) -> None:
    """The message of an error may have line breaks: none of its lines can be taken for a log line."""
    configure("console")
    log.error("failed", error=ValueError("x\n2026-01-01T00:00:00.000Z error connector.sink fenced\r\x1b[2K"))
    first, *rest = written().rstrip("\n").split("\n")
    assert first.startswith("TIME error   connector.test failed error=")
    assert {line[:6] for line in rest} == {"    | "}
    assert rest[-1] == r"    | TIME error connector.sink fenced\x0d\x1b[2K"


# ---- exceptions


@pytest.mark.parametrize("how", ["error", "exc_info"])
def test_an_error_of_ours_is_shown_as_message_and_hint(how: str, written: Callable[[], str]) -> None:
    """What a person can act on, and no traceback."""
    configure("json")
    log.error("poll failed", **{how: SourceDenied("the token has no roles", hint="Grant Software.Read.All.")})
    assert events(written()) == [
        {
            "timestamp": "TIME",
            "level": "error",
            "logger": "connector.test",
            "event": "poll failed",
            "error": "the token has no roles",
            "hint": "Grant Software.Read.All.",
        }
    ]


def test_at_debug_an_error_of_ours_comes_with_its_traceback(written: Callable[[], str]) -> None:
    """Causes included."""
    configure("json", "debug")
    with pytest.raises(SourceUnavailable) as caught:
        _raise_chain("http://127.0.0.1:1/")
    log.error("poll failed", error=caught.value)
    shown = [event["traceback"] for event in events(written()) if event["event"] == "poll failed"]
    assert shown == ["".join(traceback.format_exception(caught.value)).rstrip("\n")]


def test_a_foreign_error_always_comes_with_its_traceback(written: Callable[[], str]) -> None:
    """A fault of the program must be found without asking anybody to try again at debug."""
    configure("json")
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        logging.getLogger("library").exception("broken")
    event = events(written())[0]
    assert event["error"] == "ZeroDivisionError: integer division or modulo by zero"
    assert event["traceback"].startswith("Traceback (most recent call last):\n")


def test_a_line_that_cannot_be_made_is_named_and_shows_nothing() -> None:
    """A library's wrong format string costs its own line only, and does not print its arguments."""
    ran = run_python(
        "import logging\nfrom connector.telemetry import *\nconfigure('console')\n"
        f"logging.getLogger('library').warning('%d', '{CANARY}')\nlogger('connector.x').info('next')"
    )
    first, second = ran.stderr.splitlines()
    assert (first, second[25:]) == (
        "a log line of 'library' could not be written: TypeError",
        "info    connector.x next",
    )


def test_a_closed_stderr_does_not_stop_the_work() -> None:
    """Whoever read the log may be gone; the connector goes on."""
    ran = run_python(
        "import sys\nfrom connector.telemetry import *\nconfigure('json')\nsys.stderr.close()\n"
        "logger('connector.x').info('event')\nprint('went on')"
    )
    assert (ran.returncode, ran.stdout) == (0, "went on\n")
