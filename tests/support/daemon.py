"""`mde-inventory run` as a process, and what it logs."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

WAIT_SECONDS_MAX: Final = 120
"""A process that starts Python, reads its configuration and opens a file takes so long on a busy machine."""

Line = dict[str, Any]


class Daemon:
    """A `run` that was started. Enter `Daemon.started` to have one, which is killed where a test fails."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[Line | None] = queue.Queue()
        self.logged: list[Line] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    @contextmanager
    def started(cls, config: Path) -> Iterator[Daemon]:
        """Start one with a configuration, or a folder of them."""
        command = [sys.executable, "-m", "connector", "--config", str(config), "--log-format", "json", "run"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MDE_INVENTORY_")}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=clean | {"COLUMNS": "300"}) as process:
            daemon = cls(process)
            try:
                yield daemon
            finally:
                process.kill()
                daemon._reader.join(WAIT_SECONDS_MAX)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it lives."""
        return self._process.poll()

    def until(self, event: str, wanted: Callable[[Line], bool] = lambda _: True) -> Line:
        """The next line of its log with this event that says this."""
        while True:
            line = self._lines.get(timeout=WAIT_SECONDS_MAX)
            assert line is not None, f"it has ended: {self.logged[-5:]}"
            if line["event"] == event and wanted(line):
                return line

    def ready(self) -> Line:
        """The answer of its /readyz; the line that says where it listens must have been logged."""
        (line,) = (line for line in self.logged if line["event"].startswith("answering /healthz"))
        with urllib.request.urlopen(f"http://{line['host']}:{line['port']}/readyz", timeout=10) as answer:
            return dict(json.loads(answer.read()))

    def signal(self, number: signal.Signals) -> None:
        """A signal."""
        self._process.send_signal(number)

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait(WAIT_SECONDS_MAX)

    def _read(self) -> None:
        assert self._process.stderr is not None
        for text in self._process.stderr:
            line = json.loads(text) if text.startswith("{") else {"event": text.strip()}
            self.logged.append(line)
            self._lines.put(line)
        self._lines.put(None)
