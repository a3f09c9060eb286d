from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connector.errors import StateError, StateLocked
from connector.state.publisher_lock import RUN, Holder, PublisherLock, lock_path

WAIT_SECONDS_MAX = 60
HOLDING = """
import sys
from pathlib import Path
from connector.state.publisher_lock import PublisherLock
with PublisherLock(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a state file will be, in a folder that does not exist yet."""
    return tmp_path / "folder" / "state.duckdb"


@contextmanager
def holding(path: Path, verb: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock until it is killed, or its input ends."""
    command = [sys.executable, "-c", HOLDING, str(path), verb]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_run_is_refused_and_the_error_names_the_first(path: Path) -> None:
    """At once, though it would wait for a verb that holds the lock briefly."""
    with holding(path, RUN) as first, pytest.raises(StateLocked) as raised:
        PublisherLock(path, RUN, wait_seconds=WAIT_SECONDS_MAX).acquire()
    assert str(raised.value) == f"`mde-inventory run` (process {first.pid}) publishes from {path}"
    assert "stop the other process first" in raised.value.hint
    assert (raised.value.exit_code, raised.value.retryable) == (1, True)


def test_a_killed_holder_leaves_no_lock(path: Path) -> None:
    """SIGKILL releases it, whatever the lock file still says."""
    with holding(path, RUN) as first:
        first.send_signal(signal.SIGKILL)
        first.wait(WAIT_SECONDS_MAX)
        left = lock_path(path).read_text()
        with PublisherLock(path, "poll"):
            taken = lock_path(path).read_text()
    assert (left, taken, lock_path(path).read_text()) == (f"{first.pid} run\n", f"{os.getpid()} poll\n", "")


def test_a_verb_that_holds_the_lock_briefly_is_waited_for(path: Path) -> None:
    """A `run` that starts meanwhile has the lock once the verb is done; without a wait it is refused."""
    with PublisherLock(path, "held approve") as brief:
        with pytest.raises(StateLocked, match="`mde-inventory held approve`"):
            PublisherLock(path, RUN).acquire()
        threading.Timer(0.3, brief.release).start()
        begun = time.monotonic()
        with PublisherLock(path, RUN, wait_seconds=WAIT_SECONDS_MAX):
            assert time.monotonic() - begun < WAIT_SECONDS_MAX


def test_an_attempt_takes_a_free_lock_and_names_the_holder_of_another(path: Path) -> None:
    """What a verb asks that can leave publishing to a `run`."""
    with PublisherLock(path, "held approve").attempted() as free:
        with PublisherLock(path, "held approve").attempted() as taken:
            assert (free, taken) == (None, Holder(os.getpid(), "held approve"))
        # The attempt that failed has released nothing.
        with pytest.raises(StateLocked):
            PublisherLock(path, RUN).acquire()
    with PublisherLock(path, RUN).attempted() as free:
        assert free is None


@pytest.mark.parametrize("text", ["", "nonsense", "12\n", "run 12\n", "1 " + "x" * 1000])
def test_a_holder_that_the_file_does_not_name_may_be_a_run(path: Path, text: str) -> None:
    """It is refused all the same, and not waited for."""
    with PublisherLock(path, "poll"):
        lock_path(path).write_text(text)
        with pytest.raises(StateLocked) as raised:
            PublisherLock(path, RUN, wait_seconds=WAIT_SECONDS_MAX).acquire()
    assert str(raised.value) == f"another process publishes from {path}"


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_lock_whose_file_was_taken_away_is_taken_again(path: Path, how: str) -> None:
    """Whoever restores a copy may move all that lies beside the state file: the next poll of `run` takes a new lock.

    Where another process was quicker, that poll is refused, and the one after it takes the lock.
    """
    with PublisherLock(path, RUN) as lock:
        lock.renew()
        lock_path(path).unlink() if how == "deleted" else lock_path(path).rename(path.with_name("moved"))
        with PublisherLock(path, "poll"), pytest.raises(StateLocked):
            lock.renew()
        lock.renew()
        with pytest.raises(StateLocked):
            PublisherLock(path, "poll").acquire()


def test_a_lock_file_that_cannot_be_locked_is_an_error_of_its_own(path: Path) -> None:
    """As on a file system without locks: with a hint, and never as if the lock were held or free."""
    path.parent.mkdir()
    lock_path(path).symlink_to(path.parent / "elsewhere")
    with pytest.raises(StateError, match="cannot be locked") as raised:
        PublisherLock(path, RUN).acquire()
    assert not isinstance(raised.value, StateLocked)
    assert "local disk" in raised.value.hint
    assert not (path.parent / "elsewhere").exists()


def test_the_lock_file_is_private(path: Path) -> None:
    """Readable by its own user alone, as everything beside the state file."""
    with PublisherLock(path, RUN):
        assert (lock_path(path).stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_looking_for_the_holder_takes_nothing_and_makes_no_file(tmp_path: Path) -> None:
    """Nobody, then the process that holds it, then nobody again: the lock can be taken as before."""
    path = tmp_path / "state.duckdb"
    looking = PublisherLock(path, "check")
    assert looking.other_holder() is None
    assert list(tmp_path.iterdir()) == []
    with PublisherLock(path, "run"):
        assert looking.other_holder() == Holder(os.getpid(), "run")
    assert looking.other_holder() is None
    with PublisherLock(path, "run"):
        pass
