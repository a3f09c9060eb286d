"""`changes`, `explain` and `replay` as processes: exit codes, what goes where, terminals, pipes that close."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from connector.kafka.mock import MockCluster
from connector.model import Topic
from tests.cli.test_cli import toml
from tests.support.bench import EASY, Bench, record
from tests.support.commands import read_terminal, run_command

INTERRUPTED = {signal.SIGINT: "p.interrupted", signal.SIGTERM: "p.terminated"}
"""The target of a replay that each signal ends."""

Run = "Callable[..., subprocess.CompletedProcess[str]]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A configuration, a Kafka inside this process, and a journal of 600 changes, all of them confirmed."""
    path = tmp_path_factory.mktemp("journal")
    with Bench(path, rules=EASY) as bench:
        bench.take(bench.snapshot([record("d", "baseline")]))
        bench.confirm_baseline()
        lines = [record(f"d-{number % 7}", f"p-{number}", deviceName=f"pc-{number % 7}.x") for number in range(599)]
        staged = bench.take(bench.snapshot(lines))
        bench.state.journal.confirm(bench.checkpoint(staged))
    with MockCluster([*(topic.name_under("p") for topic in Topic), *INTERRUPTED.values()]) as cluster:
        tables = {
            "source": {
                "tenant_id": "8f4b1c9e-0d7a-4f7e-9a53-2f0c3a1b5d6e",
                "client_id": "c",
                "client_secret": "canary-1",
            },
            "state": {"path": str(bench.path)},
            "kafka": {"topic_prefix": "p"},
            "kafka.client": {"bootstrap.servers": cluster.bootstrap_servers},
            "schema_registry": {"url": "mock://journal", "auto_register": True},
        }
        (path / "connector.toml").write_text(toml(tables), encoding="utf-8")
        yield path


@pytest.fixture
def run(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a verb there."""
    return lambda *arguments: run_command(*arguments, cwd=folder)


def terminal(folder: Path, *arguments: str, columns: int) -> list[str]:
    """The lines that a verb writes to a terminal of that width, without colours."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    clean = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "connector", *arguments], stdout=there, stderr=there, stdin=there, cwd=folder, env=clean
    )
    os.close(there)
    written = read_terminal(here)
    assert process.wait(60) == 0
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in written.decode().splitlines()]


@pytest.mark.parametrize("columns", [80, 140])
def test_a_terminal_gets_a_table_of_the_newest(folder: Path, columns: int) -> None:
    """Within its width, newest last, with an id to explain; and a note that there are more."""
    heading, *rows, ending = terminal(folder, "changes", columns=columns)
    assert (heading.split()[-1], len(rows), ending) == (
        "event", 500, "newest 500: use --limit to see more, or add a filter",
    )  # fmt: skip
    assert max(map(len, [heading, *rows])) <= columns
    assert [len(row.split()[-1]) for row in rows] == [8] * 500
    explained = terminal(folder, "explain", rows[-1].split()[-1], columns=columns)
    assert max(map(len, explained)) <= columns
    assert [any(word in line for line in explained) for word in ("NEW_DEVICE", "p-", "confirmed at")] == [True] * 3


def test_a_pipe_gets_everything_as_ndjson_or_csv(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The same changes in the same order in both; nothing else on stdout."""
    ndjson, rows = run("changes", "--type", "added"), run("changes", "--type", "added", "--csv")
    changes = [json.loads(line) for line in ndjson.stdout.splitlines()]
    table = list(csv.DictReader(io.StringIO(rows.stdout)))
    assert [row["eventId"] for row in table] == [change["eventId"] for change in changes]
    assert (len(changes), ndjson.stderr, rows.stderr) == (599, "", "")
    assert [change["sequence"] for change in changes] == sorted(change["sequence"] for change in changes)


@pytest.mark.parametrize("columns", [80, 140])
def test_changes_are_folded_by_what_happened(folder: Path, columns: int) -> None:
    """A row for what happened in a snapshot, within the terminal's width; --limit counts the rows."""
    rows = terminal(folder, "changes", "--fold", columns=columns)[1:]
    assert [row.split()[2:4] for row in rows] == [["+", "7"], ["-", "d…"]]
    assert " ".join(rows[0].split()[3:-1]) == "7 devices 599 records new device"
    assert max(map(len, rows)) <= columns
    *_, more, note = terminal(folder, "changes", "--fold", "--limit", "1", columns=columns)
    assert (more.split()[2:], note.split()[:2]) == (["and", "1", "more", "change"], ["newest", "1:"])


def test_a_reader_that_has_had_enough_is_no_failure(folder: Path) -> None:
    """As `head` does it: exit code 0, and no word on stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", "connector", "changes"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors, json.loads(first)["sequence"]) == (0, b"", 1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("explain", "00000000-0000-0000-0000-000000000000"), 1, "state.journal_retention_days"),
        (("explain", "nonsense"), 2, "is not an event id"),
        (("changes", "--snapshot", "cpe-1"), 1, "the journal has no snapshot cpe-1"),
    ],
)
def test_what_cannot_be_answered_is_an_error_with_a_hint(
    run: Callable[..., subprocess.CompletedProcess[str]], arguments: tuple[str, ...], code: int, message: str
) -> None:
    """Exit code 2 for what is not valid, 1 for what is not there; stdout stays empty."""
    refused = run(*arguments)
    assert (refused.returncode, refused.stdout, message in " ".join(refused.stderr.split())) == (code, "", True)
    assert "hint:" in refused.stderr


@pytest.mark.parametrize("number", INTERRUPTED)
def test_a_replay_that_a_signal_interrupts_exits_as_shells_say_and_is_resumed(
    folder: Path, run: Callable[..., subprocess.CompletedProcess[str]], number: signal.Signals
) -> None:
    """130 or 143, and a sentence; the same command publishes the rest."""
    topic = INTERRUPTED[number]
    arguments = ("replay", "--topic", topic, "--json")
    command = [sys.executable, "-m", "connector", *arguments, "--rate", "50"]
    servers = tomllib.loads((folder / "connector.toml").read_text(encoding="utf-8"))["kafka"]["client"]
    consumer = Consumer({**servers, "group.id": "waiting"})
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        while not any(
            consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)[1]
            for partition in consumer.list_topics(topic, timeout=30).topics[topic].partitions
        ):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        out, said = process.communicate(timeout=60)
    consumer.close()
    assert (process.returncode, out) == (128 + number, ""), said
    assert "; the same command resumes the replay" in said
    assert "error:" not in said
    rest = json.loads(run(*arguments).stdout)
    assert rest["resumed"]
    assert 0 < rest["changes"] < 600


def test_a_replay_is_counted_then_published_then_published_again(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """`--dry-run` and `--json`; the result of each run is one object."""
    arguments = ("replay", "--device", "pc-1", "--json")
    results = [json.loads(run(*arguments, *more).stdout) for more in (("--dry-run",), (), ("--rate", "500"))]
    assert [(result["changes"], result["dry_run"], result["resumed"]) for result in results] == [
        (86, True, False), (86, False, False), (86, False, False),
    ]  # fmt: skip
    assert {result["topic"] for result in results} == {"p.changes"}
    assert results[0] | {"dry_run": False, "begun_at": "", "duration_seconds": 0} == results[1] | {
        "begun_at": "", "duration_seconds": 0,
    }  # fmt: skip
