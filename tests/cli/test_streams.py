"""Streams that are closed, full, read no more, or of another encoding: a sentence and an exit code, no traceback."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer

from connector.cli.options import stopped_by_signals
from connector.kafka.mock import MockCluster
from connector.model import Topic
from connector.simulator import Fleet, Simulator
from tests.cli.test_cli import toml
from tests.support.commands import read_terminal

CLOSED = "error: stdout cannot be written: it is closed\n"
FULL = "error: stdout cannot be written: No space left on device\n"
HINT = "hint:  Send stdout to where there is room, or to /dev/null.\n"
BUG = """
import sys
from connector.cli import app, main

def broken() -> None:
    {}["https://host/x?sig=canary"]

app.command("broken")(broken)
main()
"""
"""A verb with a bug."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A configuration of a small tenant that was polled once, with the baseline published."""
    path = tmp_path_factory.mktemp("streams")
    with (
        MockCluster([topic.name_under("s") for topic in Topic]) as cluster,
        Simulator(Fleet(seed=5, devices=4, start=datetime(2026, 1, 1, tzinfo=UTC))) as simulator,
    ):
        tables = {
            "source": simulator.settings(),
            "state": {"path": str(path / "state.duckdb")},
            "diff": {"baseline": "emit"},
            "kafka": {"topic_prefix": "s"},
            "kafka.client": {"bootstrap.servers": cluster.bootstrap_servers},
            "schema_registry": {"url": "mock://streams", "auto_register": True},
        }
        (path / "connector.toml").write_text(toml(tables), encoding="utf-8")
        assert shell("poll", cwd=path).returncode == 0
        producer = Producer({"bootstrap.servers": cluster.bootstrap_servers})
        for _ in range(20):
            producer.produce("s.inventory", None, b"a tombstone needs no schema")
        producer.flush(30)
        yield path


def shell(line: str, *, cwd: Path, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of a shell in which a verb is redirected."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MDE_INVENTORY_")}
    return subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m connector {line}"],
        capture_output=True,
        cwd=cwd,
        env=clean | environ,
        timeout=120,
        check=False,
    )


def said(finished: subprocess.CompletedProcess[bytes]) -> str:
    """What a verb wrote to stderr, without its log and the note of what `tail` reads."""
    lines = finished.stderr.decode().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("20", "reading ")))


def run_broken(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the verb with a bug."""
    return subprocess.run(
        [sys.executable, "-c", BUG, *options, "broken"], capture_output=True, text=True, timeout=120, check=False
    )


TAIL = "tail --topic inventory --from beginning"


@pytest.mark.parametrize("verb", ["changes", f"{TAIL} --max 1", "poll", "--help"])
def test_a_closed_stdout_is_said_in_one_sentence(folder: Path, verb: str) -> None:
    """The verb ends with exit code 1, and nothing of it lands in a file that was given the number of stdout."""
    finished = shell(f"{verb} >&-", cwd=folder)
    assert (finished.returncode, said(finished)) == (1, CLOSED + HINT)


@pytest.mark.parametrize("verb", ["changes", f"{TAIL} --max 1 --json", "poll --json", "schema show"])
def test_a_full_disk_behind_stdout_is_said_in_one_sentence(folder: Path, verb: str) -> None:
    """Also where what is printed waits in a buffer until the verb ends."""
    finished = shell(f"{verb} > /dev/full", cwd=folder)
    assert (finished.returncode, said(finished)) == (1, FULL + HINT)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- 2>&-"])
def test_a_stderr_that_takes_nothing_stops_no_work(folder: Path, redirection: str) -> None:
    """Logs and errors are lost, results and exit codes are not."""
    polled = shell(f"--log-level debug poll --json {redirection}", cwd=folder)
    assert (polled.returncode, json.loads(polled.stdout)["outcome"]) == (0, "unchanged")
    assert shell(f"explain nonsense {redirection}", cwd=folder).returncode == 2


@pytest.mark.parametrize("verb", ["changes", f"{TAIL} --max 20"])
def test_a_reader_that_has_had_enough_ends_what_it_reads(folder: Path, verb: str) -> None:
    """Exit code 0, and no error on stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", "connector", *verb.split()], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    errors_beside_notes = [line for line in errors.splitlines() if not line.startswith(b"reading ")]
    assert (process.returncode, errors_beside_notes) == (0, [])


@pytest.mark.parametrize("verb", ["changes --json", "changes --csv", "status"])
def test_what_goes_into_a_pipe_is_utf_8_whatever_the_locale(folder: Path, verb: str) -> None:
    """Byte for byte what a UTF-8 locale gives."""
    usual, *others = (
        shell(verb, cwd=folder, PYTHONIOENCODING=name, COLUMNS="120").stdout.splitlines()[:4]
        for name in ("utf-8", "iso-8859-1", "ascii")
    )
    assert (len(usual) > 1, others) == (True, [usual, usual])


@pytest.mark.parametrize("verb", ["changes", "changes --json", "--help"])
def test_a_terminal_of_another_encoding_is_no_failure(folder: Path, verb: str) -> None:
    """What it cannot show is escaped; JSON stays JSON."""
    here, there = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "connector", *verb.split()],
        stdout=there, stderr=there, cwd=folder, env=os.environ | {"PYTHONIOENCODING": "ascii"},
    ) as process:  # fmt: skip
        os.close(there)
        written = read_terminal(here)
    assert (process.returncode, b"Traceback" in written, written.isascii()) == (0, False, True)
    if verb == "changes --json":
        assert [json.loads(line)["changeType"] for line in written.splitlines()][:1] == ["BASELINE"]


def test_a_bug_is_one_sentence_with_its_place() -> None:
    """Type, text and what to do; the traceback at debug only, and no secret in either."""
    finished, verbose = run_broken(), run_broken("--log-level", "debug")
    lines = finished.stderr.splitlines()
    assert (finished.returncode, finished.stdout, len(lines)) == (1, "", 2)
    assert re.fullmatch(r"error: unexpected KeyError in connector/cli/__init__\.py:\d+: .*\?\[removed\]'", lines[0])
    assert lines[1].startswith("hint:  This is a bug: please open an issue")
    assert ("Traceback" in finished.stderr, "Traceback" in verbose.stderr) == (False, True)
    assert "canary" not in finished.stderr + verbose.stderr


def test_in_a_json_log_an_error_is_a_line_of_json(tmp_path: Path) -> None:
    """Of a bug with the traceback; of an error of ours with hint and exit code."""
    (bug,) = map(json.loads, run_broken("--log-format", "json").stderr.splitlines())
    assert (bug["level"], bug["exit_code"], "Traceback" in bug["traceback"]) == ("error", 1, True)
    (missing,) = map(json.loads, shell("--log-format json poll", cwd=tmp_path).stderr.splitlines())
    assert (missing["event"].split(" at ")[0], missing["exit_code"]) == ("no configuration file", 2)
    assert missing["hint"].startswith("`mde-inventory init` writes one")


def test_errors_in_a_pipe_are_not_wrapped(tmp_path: Path) -> None:
    """However narrow a terminal would be, a line of the message is a line."""
    long = tmp_path / ("x" * 120)
    finished = shell(f"--config {long} poll", cwd=tmp_path, COLUMNS="40")
    assert [line[:7] for line in finished.stderr.decode().splitlines()] == ["error: ", "hint:  "]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_asks_a_poll_to_stop(number: int) -> None:
    """A terminal that is closed counts as one, unless `nohup` said otherwise."""
    stop = threading.Event()
    with stopped_by_signals(stop):
        os.kill(os.getpid(), number)
        assert stop.wait(10)


def test_a_hangup_that_is_ignored_stays_so() -> None:
    """As `nohup` starts a process."""
    stop, former = threading.Event(), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals(stop):
            os.kill(os.getpid(), signal.SIGHUP)
            assert (stop.is_set(), signal.getsignal(signal.SIGHUP)) == (False, signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGHUP, former)
