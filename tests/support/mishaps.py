"""What befalls a tenant between two generations: Kafka away, another instance, a hung process, bad storage.

Each mishap ends with a poll that nobody disturbs, so that the run goes on exactly as if nothing had been; whether it
did is for the verdict to say. Where the connector may stop instead of going on, it must stop by name, and the mishap
brings back what a person would bring back. Owns no figures but what each mishap came to.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.broker import Broker, LocalBroker
from tests.support.exactly_once import Run
from tests.support.killing import Ended

DEADLINE_SECONDS: Final = 1.5
"""How long a poll waits for a Kafka that is away; also how old a transaction may become then."""

HUNG_SECONDS: Final = DEADLINE_SECONDS + 1.5
"""Until the broker has given up the transaction of a process that hangs."""

SNAPSHOTS_OF_OUTAGE_MAX: Final = 3
LONG_OUTAGE_EVERY_SECONDS: Final = 10.0
TORN_BYTES_MAX: Final = 4096
ROOM_BYTES: Final = (0, 4096, 65_536, 1_048_576)
DISK_MIB: Final = 192

WRITING: Final = ("staging committed", "checkpointing the file", "batch committed", "batch confirmed", "seal confirmed")
"""Points after which something was just written to the state file."""

FILLED: Final = (
    "fetching",
    "fetched",
    "staging",
    "committing what is staged",
    "staged",
    "batch begins",
    "batch committed",
)
"""Points at which the disk fills up."""

STOPS_BY_TABLE: Final = frozenset({"StateBehindCheckpoint", "CheckpointLost", "StateError"})
"""What a file that does not fit Kafka's checkpoint is refused with."""


@dataclass
class Outage:
    """What a long time without Kafka came to.

    Attributes:
        seconds: without Kafka.
        staged: snapshots staged meanwhile.
        backlog: changes pending after each of them.
        published: changes that the first poll afterwards published.
        drained_seconds: how long that poll took.
    """

    seconds: float
    staged: int
    backlog: list[int]
    published: int
    drained_seconds: float


class Mishaps:
    """The mishaps of one tenant.

    Args:
        run: the tenant.
        draw: what is drawn.
        broker: its broker.
        folder: only for copies.
    """

    def __init__(self, run: Run, draw: random.Random, broker: Broker, folder: Path) -> None:
        self._run = run
        self._draw = draw
        self._broker = broker
        self._folder = folder
        self._copies = 0

    def possible(self, *, fences: bool) -> dict[str, Callable[[], str]]:
        """The mishaps that this tenant can have, by name; without transactions none that need fencing."""
        mishaps = {
            "two processes, one file": self.two_processes_on_one_file,
            "hung past its time-out": self.hung,
            "torn log": self.torn_log,
            "full disk": self.full_disk,
        }
        if fences:
            mishaps |= {
                "two copies, one id": self.two_copies,
                "two files, one id": self.two_files,
                "a copy goes on": self.a_copy_goes_on,
                "hung, another took over": self.hung_and_taken_over,
            }
        if isinstance(self._broker, LocalBroker):
            mishaps["Kafka away"] = self.outage
        return mishaps

    # ---- Kafka away

    def outage(self) -> str:
        """Kafka goes away in mid-publish, some snapshots are staged without it, and it comes back."""
        broker, run = self._local_broker, self._run
        how = self._draw.choice(("killed", "stopped", "hung"))
        run.advance()
        child = run.started(wait=("batch begins", self._draw.randint(1, 3)), deadline_seconds=DEADLINE_SECONDS)
        child.until_reached()
        {"killed": broker.kill, "stopped": broker.stop, "hung": broker.pause}[how]()
        child.go_on()
        assert child.ended().code == 1
        for _ in range(self._draw.randint(1, SNAPSHOTS_OF_OUTAGE_MAX)):
            run.advance()
            run.poll((self._draw.choice(("fetched", "staging", "staged")), 1), deadline_seconds=DEADLINE_SECONDS)
            self._stages()
        broker.ensure_running()
        run.finish()
        return how

    def long_outage(self, seconds: float) -> Outage:
        """Kafka is stopped for so long, while the fleet moves on and is polled every few seconds."""
        broker, run = self._local_broker, self._run
        broker.stop()
        begun, backlog = time.monotonic(), []
        while time.monotonic() - begun < seconds:
            run.advance()
            polled = time.monotonic()
            backlog.append(self._stages())
            threading.Event().wait(max(0.0, polled + LONG_OUTAGE_EVERY_SECONDS - time.monotonic()))
        away = time.monotonic() - begun
        broker.start()
        back = time.monotonic()
        ended = run.finish()
        return Outage(away, len(backlog), backlog, ended.lines[-1]["published"], time.monotonic() - back)

    def _stages(self) -> int:
        """A poll without Kafka. Returns what is pending."""
        ended = self._run.poll(deadline_seconds=DEADLINE_SECONDS)
        assert (ended.code, ended.lines[-1].get("outcome")) == (1, "staged"), ended
        return int(ended.lines[-1]["pending"])

    @property
    def _local_broker(self) -> LocalBroker:
        assert isinstance(self._broker, LocalBroker)
        return self._broker

    # ---- two instances

    def two_processes_on_one_file(self) -> str:
        """The second is refused at once, and names the first, which goes on undisturbed."""
        run = self._run
        run.advance()
        first = run.started(wait=(self._draw.choice(("fetching", "staged", "batch begins")), 1))
        first.until_reached()
        second = run.poll()
        assert (second.code, second.error) == (1, "StateLocked"), second
        assert f"process {first.pid} " in second.lines[-1]["text"], second
        first.go_on()
        assert first.ended().code == 0
        run.finish()
        return "refused"

    def two_copies(self) -> str:
        """Another machine goes on with a copy taken in mid-publish: the first is fenced, and its file is still good."""
        return self._taken_over(self._poll_copy)

    def two_files(self) -> str:
        """Another machine begins with no file at all: it stops, but the first is fenced, and goes on when restarted."""
        return self._taken_over(lambda: self._stops_with_file(self._fresh("empty") / "state.duckdb"))

    def a_copy_goes_on(self) -> str:
        """The copy publishes further snapshots: the file left behind stops by the table, and the copy is put back."""
        run = self._run
        run.advance()
        run.finish()
        copy = run.copy_state(self._fresh("copy"))
        for _ in range(self._draw.randint(1, 2)):
            run.advance()
            self._poll_file(copy)
        stopped = run.poll()
        assert stopped.code == 1, stopped
        assert stopped.error in STOPS_BY_TABLE, stopped
        run.restore_state(copy)
        run.finish()
        return stopped.error

    def _taken_over(self, take_over: Callable[[], None]) -> str:
        run = self._run
        run.advance()
        first = run.started(wait=("batch begins", self._draw.randint(1, 3)))
        first.until_reached()
        take_over()
        first.go_on()
        ended = first.ended()
        assert (ended.code, ended.error) == (4, "SinkFenced"), ended
        run.finish()
        return "fenced"

    def _poll_copy(self) -> None:
        self._poll_file(self._run.copy_state(self._fresh("copy")))

    def _poll_file(self, path: Path) -> None:
        ended = self._run.poll(tables={"state": {"path": str(path)}})
        assert ended.code == 0, ended

    def _stops_with_file(self, path: Path) -> None:
        ended = self._run.poll(tables={"state": {"path": str(path)}})
        assert (ended.code, ended.error) == (1, "StateBehindCheckpoint"), ended

    # ---- a process that hangs

    def hung(self) -> str:
        """SIGSTOP in the middle of a transaction until the broker has given it up; then it goes on."""
        return self._hang(lambda: None, codes={0, 1})

    def hung_and_taken_over(self) -> str:
        """Meanwhile another instance goes on with a copy: the one that hung is fenced."""
        return self._hang(self._poll_copy, codes={4})

    def _hang(self, meanwhile: Callable[[], None], *, codes: set[int]) -> str:
        run = self._run
        run.advance()
        child = run.started(wait=("within a batch", self._draw.randint(2, 15)), deadline_seconds=DEADLINE_SECONDS)
        child.until_reached()
        child.signal(signal.SIGSTOP)
        meanwhile()
        threading.Event().wait(HUNG_SECONDS)
        child.signal(signal.SIGCONT)
        child.go_on()
        ended = child.ended()
        assert ended.code in codes, ended
        run.finish()
        return f"exit code {ended.code}"

    # ---- storage

    def torn_log(self) -> str:
        """Power loss: what was written last is cut off or garbled. Recovered, or refused by name and put back."""
        run = self._run
        run.advance()
        run.poll((self._draw.choice(WRITING), 1), delay_seconds=0.001)
        log = run.state_path.with_name(run.state_path.name + ".wal")
        if not log.exists() or not log.stat().st_size:
            run.finish()
            return "nothing to tear"
        whole = run.copy_state(self._fresh("whole"))
        self._tear(log)
        ended = run.poll()
        if ended.code == 0:
            run.finish()
            return "recovered"
        assert ended.error in STOPS_BY_TABLE | {"StateCorrupt"}, ended
        run.restore_state(whole)
        run.finish()
        return ended.error

    def _tear(self, log: Path) -> None:
        size = log.stat().st_size
        torn = self._draw.randint(1, min(size, TORN_BYTES_MAX))
        if self._draw.random() < 0.5:
            os.truncate(log, size - torn)
            return
        with log.open("r+b") as file:
            file.seek(size - torn)
            file.write(self._draw.randbytes(torn))

    def full_disk(self) -> str:
        """The disk fills up in the middle of a poll: an error of ours, and all is well once there is room."""
        run, point = self._run, self._draw.choice(FILLED)
        run.advance()
        if os.path.ismount(run.state_path.parent):
            child = run.started(wait=(point, 1))
            child.until_reached()
            filler = run.state_path.parent / "filler"
            fill(filler, room_bytes=self._draw.choice(ROOM_BYTES))
            child.go_on()
            ended = child.ended()
            filler.unlink()
        else:
            ended = run.poll(full=(point, 1))
        came_to = self._judged_full(ended)
        run.finish()
        return came_to

    @staticmethod
    def _judged_full(ended: Ended) -> str:
        assert ended.code in {0, 1}, ended
        if ended.code == 0:
            return "there was room enough"
        assert ended.lines[-1].get("hint"), ended
        assert ended.error in {"StateFull", "StateError"}, ended
        return ended.error

    def _fresh(self, name: str) -> Path:
        """A folder that does not exist yet."""
        self._copies += 1
        return self._folder / f"{name}-{self._copies}"


def fill(path: Path, *, room_bytes: int) -> None:
    """Write a file that leaves so much room on its disk."""
    with path.open("wb") as file:
        left = shutil.disk_usage(path.parent).free - room_bytes
        while left > 0:
            left -= file.write(bytes(min(left, 2**20)))
            file.flush()


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Make a folder its own small file system, where this user may mount one. Yields whether it is."""
    folder.mkdir(parents=True)
    size = f"size={DISK_MIB}m,mode=0700"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
