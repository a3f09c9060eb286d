"""Downloads the files of one listing in parallel, with retries.

Also interprets the status codes of the file storage. Whether a set of files is a snapshot is decided by `files`.
"""

from __future__ import annotations

import contextvars
import re
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from connector.clock import Timer, retry_after
from connector.errors import ConnectorError, SnapshotIncomplete, SourceUnavailable, SourceUnreachable, Stopped
from connector.private_files import translate_errors
from connector.source.folder import Verified, VerifiedList, stem_of
from connector.source.http.hosts import Link
from connector.source.http.transport import Response
from connector.source.parts import PartWriter
from connector.source.session import FetchSession
from connector.telemetry import logger

log = logger(__name__)

POLL_SECONDS: Final = 0.2
"""How often running downloads are checked for a stop."""

ERROR_BYTES_MAX: Final = 2**16
LENGTH_DIGITS_MAX: Final = 18
OK, FORBIDDEN, GONE = 200, 403, 410
EARLY_SECONDS_MAX: Final = 900.0
"""How long a URL that is not valid yet is waited for: clocks that differ by more need a new listing, or a person."""

_PERIOD: Final = re.compile(rb"Start \[([ -Z^-~]{1,60})\].{0,200}Current \[([ -Z^-~]{1,60})\]", re.DOTALL)
_CODE: Final = re.compile(rb"<Code>([A-Za-z]{1,60})</Code>")


class ExpiredError(Exception):
    """The storage refuses a pre-signed URL; `files` asks for a new one. Never shown to users."""


class Downloads:
    """One round of downloads. After the first failure that retries did not cure, no further file is started.

    Args:
        session: the collaborators of this fetch.
        folder: where files are stored, mode 0700.
        verified: the list that complete files are added to.
        deadline: when everything must be done, on the timer's monotonic clock.
    """

    def __init__(self, session: FetchSession, folder: Path, verified: VerifiedList, deadline: float) -> None:
        self._session = session
        self._folder = folder
        self._verified = verified
        self._deadline = deadline
        self._halt = threading.Event()
        self._timer = Timer(self._halt, clock=session.timer.now, monotonic=session.timer.monotonic)
        self._failures: list[Exception] = []

    def run(self, links: list[Link]) -> list[Exception]:
        """Download files and add complete ones to the list of verified files.

        Returns:
            What failed, with what a new listing cannot cure first.

        Raises:
            Stopped: asked to stop; all running downloads were cancelled.
        """
        with ThreadPoolExecutor(self._session.config.download_parallelism, thread_name_prefix="download") as threads:
            # In a copy of this thread's context, so that these threads log for the same tenant.
            pending = {threads.submit(contextvars.copy_context().run, self._download, link) for link in links}
            while pending:
                done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    self._record(future)
                if self._session.timer.stop.is_set() or any(map(is_incurable, self._failures)):
                    self._halt.set()
                if self._failures or self._halt.is_set():
                    for future in pending:
                        future.cancel()
        self._session.timer.check()
        return sorted(self._failures, key=lambda failure: not is_incurable(failure))

    def _record(self, future: Future[Verified]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            verified = future.result()
            with translate_errors(self._folder):
                self._verified.add(verified)
            self._session.counter.add_part(verified.part)
        elif isinstance(error, ConnectorError | ExpiredError):
            if not isinstance(error, Stopped):
                self._failures.append(error)
        else:
            self._halt.set()
            raise error

    def _download(self, link: Link) -> Verified:
        """Download one file, with retries."""
        failures = 0
        while True:
            self._timer.check()
            try:
                return self._attempt(link)
            except (SnapshotIncomplete, SourceUnavailable) as error:
                failures += 1
                if failures >= self._session.backoff.attempts_max:
                    raise
                seconds = self._session.backoff.seconds(failures)
                log.info("retrying a download", file=link.name, error=str(error), seconds=round(seconds, 1))
                self._timer.wait(seconds)

    def _attempt(self, link: Link) -> Verified:
        """Download one file, once.

        Raises:
            SnapshotIncomplete, SourceUnavailable: another attempt may succeed.
            ExpiredError: another URL may succeed.
        """
        headers = {"Accept-Encoding": "identity"}
        seconds_left = self._deadline - self._timer.monotonic()
        with self._session.transport.get(link, headers, seconds_max=seconds_left, stop=self._halt) as response:
            self._check_status(response, link)
            documented = self._session.export.wire_names
            encoded = "gzip" in response.headers.get("content-encoding", "").lower()
            with (
                translate_errors(self._folder),
                PartWriter(self._folder, stem_of(link.place), link.name, documented, encoded=encoded) as writer,
            ):
                for chunk in response.chunks(self._session.counter.add_bytes):
                    writer.feed(chunk)
                part = writer.finish(read_length(response.headers.get("content-length", "")))
                return Verified(part, link.place, writer.digest, writer.odd)

    def _check_status(self, response: Response, link: Link) -> None:
        if response.status == OK:
            return
        body = response.beginning(ERROR_BYTES_MAX)
        code = _CODE.search(body)
        reason = f" {code[1].decode()}" if code else ""
        message = f"the storage responded with {response.status}{reason} for {link.name}"
        if response.status in (FORBIDDEN, GONE):
            early_seconds = read_early_seconds(body)
            if early_seconds is None or early_seconds > EARLY_SECONDS_MAX:
                raise ExpiredError(message)
            self._timer.wait(early_seconds + 1.0)
            raise SourceUnavailable(
                f"{message}: its URL is not valid for another {early_seconds:.0f} seconds, says the storage's clock",
                hint="Nothing was staged. The next poll tries again.",
            )
        asked_seconds = retry_after(response.headers.get("retry-after"), self._timer.now())
        self._timer.wait(min(asked_seconds or 0.0, self._session.backoff.seconds_max))
        raise SourceUnavailable(message, hint="The next poll tries again.")


def read_early_seconds(body: bytes) -> float | None:
    """The seconds until a pre-signed URL that the storage refused becomes valid, by the storage's own clock.

    None if the refusal has another reason, or does not name one.
    """
    match = _PERIOD.search(body)
    if match is None:
        return None
    starts_at, now = (_read_moment(text.decode("ascii")) for text in match.groups())
    if starts_at is None or now is None or starts_at <= now:
        return None
    return (starts_at - now).total_seconds()


def _read_moment(text: str) -> datetime | None:
    """A time as Azure Storage writes it: an HTTP date, or ISO 8601."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text.strip())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def read_length(text: str) -> int | None:
    """The bytes that a `Content-Length` header promises; None where it is missing or cannot be read."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LENGTH_DIGITS_MAX else None


def is_incurable(failure: Exception) -> bool:
    """Whether a new listing cannot cure it."""
    return isinstance(failure, SourceUnreachable) or not isinstance(
        failure, ExpiredError | SnapshotIncomplete | SourceUnavailable
    )
