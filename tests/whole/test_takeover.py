"""The command itself against another one: fenced with exit code 4, or refused because the file is held by a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.support.broker import Broker
from tests.support.exactly_once import Run
from tests.support.judging import Verdict

pytestmark = pytest.mark.broker

WAIT_SECONDS_MAX = 120
"""A process that starts Python, reads its configuration and opens a file takes so long on a busy machine."""


def written(settings: dict[str, Any], path: Path) -> Path:
    """The configuration as a file; JSON's texts, numbers, booleans and lists are TOML's too."""
    tables = {**settings, "kafka": {**settings["kafka"]}}
    tables["kafka.client"] = tables["kafka"].pop("client")
    lines = [
        line
        for name, table in tables.items()
        for line in (f"[{name}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items()))
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@contextmanager
def polling(config: Path) -> Iterator[subprocess.Popen[str]]:
    """`mde-inventory poll` as a user would start it; killed where a test fails."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MDE_INVENTORY_")}
    command = [sys.executable, "-m", "connector", "--config", str(config), "poll", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean | {"NO_COLOR": "1"}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until_published(bootstrap_servers: str, topic: str, messages: int) -> None:
    """Wait until a topic has that number of messages, committed or not."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "watermarks"})
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        while (
            sum(consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1] for number in partitions)
            < messages
        ):
            assert time.monotonic() < deadline, "nothing was published in time"
            threading.Event().wait(0.01)
    finally:
        consumer.close()


def test_of_two_commands_the_second_wins_and_the_first_publishes_nothing_more(
    broker: Broker, registry_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Stopped in mid-publish, and taken over from a copy of its file: exit code 4, and every change is there once.

    Meanwhile another process on the first one's own file is refused at once, with the process that has it named.
    """
    with Run.begun(
        tmp_path / "state",
        bootstrap_servers=broker.bootstrap_servers,
        registry_url=registry_url,
        prefix=topic_prefix,
        seed=1,
        kafka={"batch_changes_max": 2},
    ) as run:
        own = written(run.tables(), tmp_path / "first.toml")
        with polling(own) as first:
            until_published(broker.bootstrap_servers, f"{topic_prefix}.changes", 20)
            first.send_signal(signal.SIGSTOP)
            copy = run.copy_state(tmp_path / "copy")
            with polling(own) as locked:
                _, said = locked.communicate(timeout=WAIT_SECONDS_MAX)
            with polling(written(run.tables(state={"path": str(copy)}), tmp_path / "second.toml")) as second:
                answer, trouble = second.communicate(timeout=WAIT_SECONDS_MAX)
            first.send_signal(signal.SIGCONT)
            _, last_words = first.communicate(timeout=WAIT_SECONDS_MAX)
        run.note_snapshot()
        events = run.expected_events
        assert (locked.returncode, second.returncode, first.returncode) == (1, 0, 4), (said, trouble, last_words)
        assert f"`mde-inventory poll` (process {first.pid}) publishes from" in " ".join(said.split())
        said_last = " ".join(last_words.split())
        assert "leaked" not in said_last
        assert "hint: Only one instance may publish under a transactional id" in said_last
        assert 0 < json.loads(answer)["published"] < events
        assert run.verdict() == Verdict(events, 0, 0, ())
