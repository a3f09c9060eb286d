"""Replays past changes and dies at a named point: `python -m tests.support.replaying SETTINGS TOPIC POINT`.

SETTINGS is a JSON file of the configuration's tables. POINT is one of `POINTS`, or `end` to live. All parts are the
real ones; the messages and the sink are given as delegates that know when it is time to die. A line on stdout says what
came of it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

from connector import config
from connector.assembly import Assembly
from connector.history.filters import Filters
from connector.history.replay import Replay, ReplayResult

POINTS: Final = ("within the second batch", "before the second commit", "after the third commit", "result said")
MONTH: Final = Filters(since="2026-02", until="2026-02")
BATCH: Final = 40
DELIVERY_SECONDS: Final = 0.05
"""Given to librdkafka before a kill, so that what was produced is with the broker."""


class DyingMessages:
    """Encodes, until it is time to die."""

    def __init__(self, inner: Any, point: str) -> None:
        self._inner = inner
        self._point = point
        self._changes = self._checkpoints = 0

    def encode_change(self, change: Any) -> Any:
        """As `Messages.encode_change`."""
        self._changes += 1
        if self._point == POINTS[0] and self._changes == BATCH + BATCH // 2:
            die()
        return self._inner.encode_change(change)

    def encode_checkpoint(self, checkpoint: Any) -> Any:
        """As `Messages.encode_checkpoint`."""
        self._checkpoints += checkpoint.claim is None
        if self._point == POINTS[1] and self._checkpoints == 2:
            die()
        return self._inner.encode_checkpoint(checkpoint)


class DyingSink:
    """Publishes, until it is time to die."""

    def __init__(self, inner: Any, point: str) -> None:
        self._inner = inner
        self._point = point
        self._batches = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def publish(self, messages: Any, checkpoint: Any) -> None:
        """As `Sink.publish`."""
        self._inner.publish(messages, checkpoint)
        self._batches += 1
        if self._point == POINTS[2] and self._batches == 3:
            die()


def die() -> NoReturn:
    """SIGKILL, which nothing in this process can see."""
    time.sleep(DELIVERY_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def main(settings: str, topic: str, point: str) -> None:
    """Replay a month."""

    def report(result: ReplayResult) -> None:
        print(json.dumps({"changes": result.changes, "resumed": result.resumed, "types": result.types}), flush=True)
        if point == POINTS[3]:
            die()

    tables = json.loads(Path(settings).read_text(encoding="utf-8"))
    tables["kafka"]["batch_changes_max"] = BATCH
    with Assembly(config.from_values(tables, {}, name="test")) as assembly:
        replay: Replay = assembly.replay(MONTH, topic=topic)
        dying: Any = (DyingMessages(replay._messages, point), DyingSink(replay._sink, point))
        replay._messages, replay._sink = dying
        dying[1]._inner._encode_checkpoint = dying[0].encode_checkpoint
        replay.run(report)


if __name__ == "__main__":
    main(*sys.argv[1:])
