"""What a disk has when a process is killed, the power fails or the disk is full in mid-write, call by call.

Jobs run in a forked process whose writing system calls on a folder are reported to this one before they happen (Linux:
seccomp user notifications, no privileges needed). Here they are recorded, and let through or answered with an error.
From the record, `killed` makes the folder that a SIGKILL before each call would leave, and `power_lost` those that a
machine may come up with: what was synced is there, of what was not any part may be.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import itertools
import os
import platform
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, Self

Kind = Literal["write", "sync", "cut", "remove", "link", "rename"]
Files = dict[str, bytes]

SECONDS_MAX: Final = 60
NUMBERS: Final[Mapping[str, Mapping[int, tuple[Kind, str]]]] = {
    "x86_64": {
        1: ("write", "append"), 18: ("write", "at"), 74: ("sync", ""), 75: ("sync", ""), 77: ("cut", ""),
        82: ("rename", ""), 86: ("link", ""), 87: ("remove", ""), 263: ("remove", "at"), 264: ("rename", "at"),
        265: ("link", "at"), 316: ("rename", "at"),
    },
    "aarch64": {
        64: ("write", "append"), 68: ("write", "at"), 82: ("sync", ""), 83: ("sync", ""), 46: ("cut", ""),
        35: ("remove", "at"), 37: ("link", "at"), 38: ("rename", "at"), 276: ("rename", "at"),
    },
}  # fmt: skip
"""System calls that change a file, by machine."""

_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_NO_NEW_PRIVILEGES, _FILTER_MODE, _NEW_LISTENER = 38, 1, 8
_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101
_NOTIFIED, _ALLOWED = 0x7FC00000, 0x7FFF0000
_CONTINUE: Final = 1
_QUESTION: Final = struct.Struct("=QIIiIQ6Q")
_REPLY: Final = struct.Struct("=QqiI")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call that changes a file of the folder; `path` and `target` are relative to it."""

    kind: Kind
    path: str
    offset: int = 0
    content: bytes = field(default=b"", repr=False)
    target: str = ""

    def apply(self, files: Files) -> None:
        """What it does to the files of a folder."""
        if self.kind == "write":
            before = files.get(self.path, b"")
            begin = len(before) if self.offset < 0 else self.offset
            files[self.path] = before[:begin].ljust(begin, b"\0") + self.content + before[begin + len(self.content) :]
        elif self.kind == "cut":
            files[self.path] = files.get(self.path, b"")[: self.offset].ljust(self.offset, b"\0")
        elif self.kind == "remove":
            files.pop(self.path, None)
        elif self.kind == "link":
            files[self.target] = files[self.path]
        elif self.kind == "rename" and self.path in files:
            files[self.target] = files.pop(self.path)

    def torn(self, *, first: bool) -> Call:
        """Of a write, one half alone."""
        half = len(self.content) // 2
        if self.kind != "write" or (self.offset < 0 and not first):
            return self
        return Call(
            "write", self.path, self.offset if first else self.offset + half,
            self.content[:half] if first else self.content[half:],
        )  # fmt: skip


class Unavailable(Exception):
    """This machine does not let a process watch another one's system calls."""


class Disk:
    """Runs jobs whose writes into a folder are watched. A context.

    Args:
        folder: the one that is watched, whole.

    Attributes:
        calls: of the last job, but those that got an error.

    Raises:
        Unavailable: not on this machine.
    """

    def __init__(self, folder: Path) -> None:
        self.calls: list[Call] = []
        self.folder = folder.resolve()
        self._answer: Callable[[Call, int], int] = lambda _call, _number: 0
        if platform.machine() not in NUMBERS or sys.platform != "linux":
            raise Unavailable(f"no list of system calls for {sys.platform} on {platform.machine()}")
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.disk", str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        with ours:
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
            self._parent = Connection(os.dup(ours.fileno()))
        if not descriptors:
            self._process.wait(SECONDS_MAX)
            self._parent.close()
            raise Unavailable("the kernel does not report another process's system calls")
        self._listener = descriptors[0]
        self._watching = threading.Thread(target=self._watch, name="disk", daemon=True)
        self._watching.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.close()
        self._process.wait(SECONDS_MAX)
        self._watching.join(SECONDS_MAX)
        os.close(self._listener)

    def run(
        self, job: Callable[..., Any], *arguments: Any, answer: Callable[[Call, int], int] | None = None
    ) -> tuple[BaseException | None, Any]:
        """Run a job in a separate process. Returns what it raised, or what it returned.

        `answer` is given every call with its number, and says which error it gets: 0 for none.
        """
        self.calls = []
        self._answer = answer or (lambda _call, _number: 0)
        self._parent.send((job, arguments))
        assert self._parent.poll(SECONDS_MAX), "the job does not end"
        error, value, died = self._parent.recv()
        assert not died, f"the process of the job died: {died}"
        return error, value

    def _watch(self) -> None:
        """Answer every call until nobody is left who could make one."""
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        while True:
            ready = poller.poll()
            if any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in ready):
                return
            question = bytearray(_QUESTION.size)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, question)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):
                    continue
                raise
            number, thread, _, system_call, _, _, *arguments = _QUESTION.unpack(question)
            refused = self._heard(thread, system_call, arguments)
            reply = _REPLY.pack(number, 0, -refused, 0 if refused else _CONTINUE)
            with suppress(FileNotFoundError):
                fcntl.ioctl(self._listener, _ANSWER, reply)

    def _heard(self, thread: int, system_call: int, arguments: Sequence[int]) -> int:
        call = self._call(thread, system_call, arguments)
        if call is None:
            return 0
        refused = self._answer(call, len(self.calls))
        if not refused:
            self.calls.append(call)
        return refused

    def _call(self, thread: int, system_call: int, arguments: Sequence[int]) -> Call | None:
        kind, how = NUMBERS[platform.machine()][system_call]
        if kind in {"write", "sync", "cut"}:
            name = self._relative(str(Path(f"/proc/{thread}/fd/{arguments[0]}").readlink()))
            if name is None:
                return None
            if kind == "write":
                content = _memory(thread, arguments[1], arguments[2])
                return Call(kind, name, arguments[3] if how == "at" else -1, content)
            return Call(kind, name, arguments[1] if kind == "cut" else 0)
        first, second = (1, 3) if how == "at" else (0, 1)
        name = self._relative(_text(thread, arguments[first]))
        if name is None:
            return None
        target = self._relative(_text(thread, arguments[second])) if kind in {"link", "rename"} else ""
        assert target is not None, "nothing leaves the folder"
        return Call(kind, name, target=target)

    def _relative(self, path: str) -> str | None:
        path = path.removesuffix(" (deleted)")
        place = Path(path)
        return str(place.relative_to(self.folder)) if place.is_relative_to(self.folder) else None


def read(folder: Path) -> Files:
    """The files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, files: Files) -> None:
    """Make a folder of those files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def killed(before: Files, calls: Sequence[Call]) -> Iterator[Files]:
    """What is there when the process is killed before each call, and after the last."""
    files = dict(before)
    yield dict(files)
    for call in calls:
        call.apply(files)
        if call.kind != "sync":
            yield dict(files)


def power_lost(before: Files, calls: Sequence[Call], random: Random) -> Iterator[Files]:
    """What may be there when the power fails after each call: of what was not synced nothing, all, or any part."""
    durable = dict(before)
    volatile: list[Call] = []
    for call in calls:
        if call.kind == "sync":
            for unsynced in volatile:
                if unsynced.path == call.path:
                    unsynced.apply(durable)
            volatile = [unsynced for unsynced in volatile if unsynced.path != call.path]
            continue
        volatile.append(call)
        *earlier, last = volatile
        halves = [[*earlier, last.torn(first=first)] for first in (True, False)]
        some = [unsynced for unsynced in volatile if random.random() < 0.5]
        for part in ([], [last], *halves, some):
            files = dict(durable)
            for unsynced in part:
                with suppress(KeyError):
                    unsynced.apply(files)
            yield files


def unique(images: Iterator[Files]) -> list[Files]:
    """Each once."""
    return list({hash(tuple(sorted(files.items()))): files for files in images}.values())


def _memory(thread: int, address: int, size: int) -> bytes:
    with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(size)


def _text(thread: int, address: int) -> str:
    pieces = (_memory(thread, address + place, 1) for place in range(4096))
    return os.fsdecode(b"".join(itertools.takewhile(lambda piece: piece != b"\0", pieces)))


# ---- the other side


class _Statement(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("value", ctypes.c_uint))


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("statements", ctypes.POINTER(_Statement)))


def _listen() -> int:
    """Have all writing system calls of this process and its children reported; -1 where that cannot be."""
    numbers = sorted(NUMBERS[platform.machine()])
    rows = [(0x20, 0, 0, 0), *((0x15, len(numbers) - place, 0, number) for place, number in enumerate(numbers))]
    rows += [(0x06, 0, 0, _ALLOWED), (0x06, 0, 0, _NOTIFIED)]
    table = (_Statement * len(rows))(*(_Statement(*row) for row in rows))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return -1
    program = _Filter(len(rows), table)
    return int(libc.syscall(_SECCOMP[platform.machine()], _FILTER_MODE, _NEW_LISTENER, ctypes.byref(program)))


def _work(parent: Connection, job: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """The job in a fork of this process; what comes of it goes to the parent."""
    child = os.fork()
    if not child:
        try:
            outcome: tuple[BaseException | None, Any, int] = (None, job(*arguments), 0)
        except BaseException as error:  # noqa: BLE001 - the parent gets it
            outcome = (error, None, 0)
        parent.send(outcome)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        parent.send((None, None, status))


def main() -> None:
    """Run what the parent sends, until it is gone."""
    import tests.support.power  # noqa: F401, PLC0415 - read now, so that no job begins with it

    number = int(sys.argv[1])
    listener = _listen()
    with socket.socket(fileno=os.dup(number)) as channel:
        socket.send_fds(channel, [b"-"], [listener] if listener >= 0 else [])
    if listener < 0:
        return
    os.close(listener)
    parent = Connection(number)
    with suppress(EOFError):
        while True:
            _work(parent, *parent.recv())


if __name__ == "__main__":
    main()
