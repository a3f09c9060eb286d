"""Files of one listing, downloaded in parallel, each with as many attempts as it has.

Owns the threads, and what a status of the file storage means. Must not list, and must not decide whether a set of files
is a snapshot: that is `files`.
"""

from __future__ import annotations

import contextvars
import re
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

from connector.clock import Timer, retry_after
from connector.errors import ConnectorError, SnapshotIncomplete, SourceUnavailable, SourceUnreachable, Stopped
from connector.private_files import translated
from connector.source.folder import Verified, VerifiedList, stem_of
from connector.source.http.hosts import Link
from connector.source.http.transport import Answer
from connector.source.parts import PartWriter
from connector.source.session import Gear
from connector.telemetry import logger

log = logger(__name__)

GLANCE_SECONDS: Final = 0.2
ERROR_BYTES_MAX: Final = 2**16
OK, FORBIDDEN, GONE = 200, 403, 410
_CODE: Final = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")


class ExpiredError(Exception):
    """The storage refuses a pre-signed URL; `files` asks for a new one. Not for users."""


class Downloads:
    """One round of downloads. The first failure that only a new listing may cure lets no further file begin.

    Args:
        gear: transport, clocks, counts.
        folder: where files go, mode 0700.
        verified: where whole files are noted.
        deadline: when all of it must be over, on the timer's monotonic clock.
    """

    def __init__(self, gear: Gear, folder: Path, verified: VerifiedList, deadline: float) -> None:
        self._gear = gear
        self._folder = folder
        self._verified = verified
        self._deadline = deadline
        self._halt = threading.Event()
        self._timer = Timer(self._halt, clock=gear.timer.now, monotonic=gear.timer.monotonic)
        self._failures: list[Exception] = []

    def run(self, links: list[Link]) -> list[Exception]:
        """Download these files; whole ones are noted. Returns what failed, what no listing cures first.

        Raises:
            Stopped: asked to stop; everything under way was cut.
        """
        with ThreadPoolExecutor(self._gear.config.download_parallelism, thread_name_prefix="download") as threads:
            # In a copy of this thread's context: what these threads log is the same tenant's.
            waiting = {threads.submit(contextvars.copy_context().run, self._persist, link) for link in links}
            while waiting:
                done, waiting = wait(waiting, timeout=GLANCE_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    self._take(future)
                if self._gear.timer.stop.is_set() or any(map(is_grave, self._failures)):
                    self._halt.set()
                if self._failures or self._halt.is_set():
                    for future in waiting:
                        future.cancel()
        self._gear.timer.check()
        return sorted(self._failures, key=lambda failure: not is_grave(failure))

    def _take(self, future: Future[Verified]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            verified = future.result()
            with translated(self._folder):
                self._verified.add(verified)
            self._gear.tally.verified(verified.part)
        elif isinstance(error, ConnectorError | ExpiredError):
            if not isinstance(error, Stopped):
                self._failures.append(error)
        else:
            self._halt.set()
            raise error

    def _persist(self, link: Link) -> Verified:
        """Download one file, with as many attempts as it has."""
        failures = 0
        while True:
            self._timer.check()
            try:
                return self._attempt(link)
            except (SnapshotIncomplete, SourceUnavailable) as error:
                failures += 1
                if failures >= self._gear.backoff.attempts_max:
                    raise
                seconds = self._gear.backoff.seconds(failures)
                log.info("a file is fetched again", file=link.name, error=str(error), seconds=round(seconds, 1))
                self._timer.wait(seconds)

    def _attempt(self, link: Link) -> Verified:
        """Download one file, once.

        Raises:
            SnapshotIncomplete, SourceUnavailable: another attempt may go better.
            ExpiredError: another URL may go better.
        """
        headers = {"Accept-Encoding": "identity"}
        seconds_left = self._deadline - self._timer.monotonic()
        with self._gear.transport.get(link, headers, seconds_max=seconds_left, stop=self._halt) as answer:
            self._check_status(answer, link)
            encoded = "gzip" in answer.headers.get("content-encoding", "").lower()
            length = answer.headers.get("content-length", "")
            with (
                translated(self._folder),
                PartWriter(self._folder, stem_of(link.place), link.name, encoded=encoded) as writer,
            ):
                for chunk in answer.chunks(self._gear.tally.received):
                    writer.feed(chunk)
                part = writer.finish(int(length) if length.isdigit() else None)
                return Verified(part, link.place, writer.digest, writer.odd)

    def _check_status(self, answer: Answer, link: Link) -> None:
        if answer.status == OK:
            return
        code = _CODE.search(answer.body(ERROR_BYTES_MAX))
        what = f"the storage answers {answer.status}{f' {code[1].decode()}' if code else ''} for {link.name}"
        if answer.status in (FORBIDDEN, GONE):
            raise ExpiredError(what)
        rest = retry_after(answer.headers.get("retry-after"), self._timer.now())
        self._timer.wait(min(rest or 0.0, self._gear.backoff.seconds_max))
        raise SourceUnavailable(what, hint="The next poll tries again.")


def is_grave(failure: Exception) -> bool:
    """Whether no new listing will cure it."""
    return isinstance(failure, SourceUnreachable) or not isinstance(
        failure, ExpiredError | SnapshotIncomplete | SourceUnavailable
    )
