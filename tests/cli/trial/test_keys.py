"""Single keys of a terminal."""

from __future__ import annotations

import os
import pty
import sys
import threading
from pathlib import Path

import pytest

from connector.cli.trial.keys import Keys
from tests.support.commands import read_terminal

WAITING = """
import sys, threading
from connector.cli.trial.keys import Keys
with Keys(threading.Event()) as keys:
    print("ready", keys.are_there, flush=True)
    print("pressed", keys.wait(60), keys.wait(0.3), flush=True)
"""


def test_a_key_ends_the_wait_on_a_terminal() -> None:
    """Any key, without Enter and without an echo; it counts once."""
    pid, terminal = pty.fork()
    if not pid:
        os.execve(sys.executable, [sys.executable, "-c", WAITING], os.environ | {"PYTHONPATH": "."})  # noqa: S606
    shown = b""
    while b"ready" not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, b"n")
    shown += read_terminal(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert shown.split() == [b"ready", b"True", b"pressed", b"True", b"False"]


def test_without_a_terminal_time_passes_or_stop_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a pipe or a file has to say is no key."""
    stop = threading.Event()
    (tmp_path / "stdin").write_text("nnn", encoding="ascii")
    with (tmp_path / "stdin").open(encoding="ascii") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with Keys(stop) as keys:
            assert (keys.are_there, keys.wait(0.01)) == (False, False)
            stop.set()
            assert keys.wait(60) is False
