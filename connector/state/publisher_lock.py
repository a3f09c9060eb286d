"""Who publishes from a state file: `run` for its whole life, other verbs while they publish.

The state file itself is open only while a poll runs, so that other verbs can read it in between. This lock also says
between two polls that somebody publishes. It is what refuses a second `run`, and what tells a verb to leave publishing
to the `run` that is there: Kafka would take the verb for an instance that took over, and fence the `run` for good.

The lock is an flock(2) of a file beside the state file, which names the last holder's process and verb. The kernel
releases it however the holder ends, so no process has to clean up. The file itself stays.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from connector.errors import StateError, StateLocked

RUN: Final = "run"
"""The verb that holds the lock for its whole life; all others hold it briefly."""

RETRY_SECONDS: Final = 0.05
_HOLDER: Final = re.compile(r"(\d{1,10}) ([a-z ]{1,20})\n?")
_HOLDER_BYTES_MAX: Final = 100


class Holder(NamedTuple):
    """The process that holds a lock, as far as the lock file names it."""

    pid: int | None
    verb: str

    @property
    def lasts(self) -> bool:
        """Whether it keeps the lock until somebody stops it; taken for granted where the file names no verb."""
        return self.verb in {RUN, ""}

    def __str__(self) -> str:
        verb = f"`mde-inventory {self.verb}`" if self.verb else "another process"
        return verb if self.pid is None else f"{verb} (process {self.pid})"


class PublisherLock:
    """The lock of one state file. A context manager, which holds it for its block.

    Args:
        state_path: the state file, which need not exist.
        verb: what this process does with the lock, for others to read.
        wait_seconds: on entering, how long to wait for a holder that will not keep the lock for long.
    """

    def __init__(self, state_path: Path, verb: str, *, wait_seconds: float = 0.0) -> None:
        self.path = lock_path(state_path)
        self._state_path = state_path
        self._verb = verb
        self._wait_seconds = wait_seconds
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StateLocked: another process has it.
            StateError: the lock file cannot be made or locked.
        """
        deadline = time.monotonic() + self._wait_seconds
        while (holder := self.attempt()) is not None:
            if holder.lasts or time.monotonic() >= deadline:
                raise StateLocked(
                    f"{holder} publishes from {self._state_path}",
                    hint="A state file takes one `run`, and no poll beside it: stop the other process first, or give"
                    " this one its own state.path. Across containers the process id means nothing.",
                )
            time.sleep(RETRY_SECONDS)

    def attempt(self) -> Holder | None:
        """Take the lock where it is free. Returns the holder where it is not.

        Raises:
            StateError: the lock file cannot be made or locked.
        """
        for is_last in (False, True):
            if self._take():
                return None
            if not is_last:
                # Whoever has just taken it may not have written its name yet.
                time.sleep(RETRY_SECONDS)
        return self._read_holder()

    @contextmanager
    def attempted(self) -> Iterator[Holder | None]:
        """Hold the lock for a block where it is free. Yields the other holder where it is not. Raises as `attempt`."""
        try:
            yield self.attempt()
        finally:
            self.release()

    def other_holder(self) -> Holder | None:
        """Whoever holds the lock; None where nobody does. Takes nothing, and makes no file."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self.path, flags)
        except FileNotFoundError:
            return None
        except OSError:
            return Holder(None, "")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return self._read_holder()
        finally:
            os.close(descriptor)
        return None

    def renew(self) -> None:
        """Take the lock again where its file was moved away or deleted, as by somebody who restores a copy.

        Raises as `acquire`; holds nothing then.
        """
        if self._descriptor is not None and not self._is_in_place(self._descriptor):
            self._close()
        if self._descriptor is None:
            self.acquire()

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._descriptor is not None:
            # Its name is gone before the lock is.
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            self._close()

    def _take(self) -> bool:
        """Take the lock and write our name. Returns false where another process has it."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                taken = self._lock(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise StateError(
                f"{self.path} cannot be locked: {error.strerror}",
                hint="Put state.path on a local disk, in a folder that this user may write to. Without the lock, a"
                " second process would go unnoticed.",
            ) from error
        if taken:
            self._descriptor = descriptor
        else:
            os.close(descriptor)
        return taken

    def _lock(self, descriptor: int) -> bool:
        """Lock the open file and write our name. Returns false where it is locked, or no longer in its place."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not self._is_in_place(descriptor):
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {self._verb}\n".encode(), 0)
        return True

    def _is_in_place(self, descriptor: int) -> bool:
        """Whether an open file is still the one that the path leads to."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.lstat())
        except FileNotFoundError:
            return False

    def _read_holder(self) -> Holder:
        text = b""
        with suppress(OSError), self.path.open("rb") as file:
            text = file.read(_HOLDER_BYTES_MAX)
        match = _HOLDER.fullmatch(text.decode("ascii", "replace"))
        return Holder(int(match[1]), match[2]) if match else Holder(None, "")

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def lock_path(state_path: Path) -> Path:
    """The lock file of a state file."""
    return state_path.with_name(state_path.name + ".lock")
