"""The files flavour of the export: list, download, resume, list again.

Decides when a set of files is one complete snapshot: every file of one listing, each complete, and the same generation
from the first listing to the last. `downloads` fetches the files.

    no files listed               listed again, then SnapshotIncomplete
    a file that is not complete   retried, listed again, then SnapshotIncomplete
    a signature that expired      listed again; the same generation continues with the new URLs
    one that is not valid yet     waited for, and the same URL is asked for again
    another generation or list    started over, a few times
    no connection to the storage  SourceUnreachable, if nothing could be downloaded at all
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final

from connector.clock import SKEW_MAX
from connector.errors import (
    ConnectorError,
    SnapshotIncomplete,
    SourceMalformed,
    SourceUnavailable,
    SourceUnreachable,
)
from connector.model import Inventory, Listing, Method
from connector.source.downloads import Downloads, is_incurable
from connector.source.folder import Verified, VerifiedList
from connector.source.http.api import Call
from connector.source.http.hosts import Link
from connector.source.lines import UNREADABLE, read_envelope, read_value
from connector.source.session import FetchSession
from connector.telemetry import logger

log = logger(__name__)

STARTS_MAX: Final = 3
"""How often a fetch is started, since the generation may change while it runs."""

LISTINGS_MAX: Final = 4
"""How often the files are listed for each start: 20 listings an hour are all there are."""

PARTS_MAX: Final = 10_000
LISTING_BYTES_MAX: Final = 2**26
LISTING_SECONDS_MAX: Final = 120.0
DOWNLOAD_SECONDS_MAX: Final = 6 * 3600.0
"""The life of a generation, and the longest of a pre-signed URL."""

GENERATION_MIN: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""An earlier time is a placeholder (0001-01-01, 1601-01-01, 1970-01-01): it would name a generation that never was."""


class _ChangedError(Exception):
    """The generation or its list of files changed; never leaves this module."""


class Files:
    """Fetches the files flavour.

    Args:
        session: the collaborators of this fetch.
    """

    def __init__(self, session: FetchSession) -> None:
        self._session = session

    def fetch(
        self, inventory: Inventory, *, newer_than: datetime | None, again: bool = False
    ) -> tuple[datetime, list[Verified]] | None:
        """Download every file of the newest generation; None where it is not newer than `newer_than`.

        With `again`, that generation itself is downloaded too.

        Raises:
            SnapshotIncomplete: no complete set of files could be downloaded, or the generation is dated ahead of now.
            SourceUnreachable: the file storage cannot be reached at all.
            SourceError: as `Api.ask`.
            StateError: the staging folder cannot be used.
            Stopped: asked to stop; complete files are kept for the next fetch.
        """
        for _ in range(STARTS_MAX):
            listing = self._list(inventory)
            generated_at = _generation_time(listing)
            check_clock(generated_at, self._session.timer.now())
            if newer_than is not None and generated_at <= newer_than and not (again and generated_at == newer_than):
                if generated_at < newer_than:
                    log.warning(
                        "the export is older than the inventory and is ignored",
                        inventory=inventory.value,
                        generated_at=generated_at,
                        inventory_generated_at=newer_than,
                    )
                return None
            try:
                return generated_at, self._download(listing)
            except _ChangedError as change:
                log.warning("the fetch is started over", inventory=inventory.value, reason=str(change))
            except ConnectorError as error:
                error.generated_at = generated_at
                raise
        raise SnapshotIncomplete(
            f"the export changed {STARTS_MAX} times while it was fetched",
            hint="Nothing was staged. The next poll tries again.",
        )

    # ---- listing

    def _list(self, inventory: Inventory) -> Listing:
        """List the files, again where there are none: they may not be ready yet."""
        endpoint = self._session.export.feed(inventory).files
        hours = self._session.config.sas_valid_hours
        link = self._session.hosts.api(f"/api/machines/{endpoint.path}?sasValidHours={hours}")
        call = Call(endpoint, link, LISTING_BYTES_MAX, LISTING_SECONDS_MAX)
        for attempt in range(1, LISTINGS_MAX):
            listing = self._session.api.ask(call, lambda body: self._read(inventory, body))
            if listing.urls:
                return listing
            log.warning("the export lists no files", inventory=inventory.value, attempt=attempt)
            if attempt < LISTINGS_MAX - 1:
                self._session.timer.wait(self._session.backoff.seconds(attempt))
        raise SnapshotIncomplete(
            f"{endpoint.path} lists no files",
            hint="Nothing was staged. They may not be ready yet: the next poll tries again. Can the application see"
            " any device?",
        )

    def _read(self, inventory: Inventory, body: bytearray) -> Listing:
        try:
            urls, generated_at = read_listing(body)
        except (*UNREADABLE, TypeError) as error:
            path = self._session.export.feed(inventory).files.path
            raise SourceMalformed(
                f"{path} returned an undocumented response: {str(error)[:200] or 'not JSON'}",
                hint="The next poll tries again. Does a proxy change responses?",
            ) from error
        return Listing(inventory, Method.FILES, generated_at, urls)

    # ---- downloading

    def _download(self, listing: Listing) -> list[Verified]:
        """Every file of an export, in the order of its list; files downloaded before a restart are kept."""
        links = self._links(listing)
        folder = self._session.staging.open_folder(listing.inventory, f"{_generation_time(listing):%Y%m%dT%H%M%S%fZ}")
        verified = VerifiedList(folder)
        self._session.counter.begin(f"{listing.inventory.label} files", parts=len(links))
        for place in links:
            if (earlier := verified.get(place)) is not None:
                self._session.counter.add_part(earlier.part)
        fetched = 0
        deadline = self._session.timer.monotonic() + DOWNLOAD_SECONDS_MAX
        for attempt in range(1, LISTINGS_MAX + 1):
            missing = [link for place, link in links.items() if verified.get(place) is None]
            failures = Downloads(self._session, folder, verified, deadline).run(missing)
            complete = [file for place in links if (file := verified.get(place)) is not None]
            if len(complete) == len(links):
                return complete
            fetched += len(complete) - len(links) + len(missing)
            _raise_incurable(failures, fetched=fetched)
            log.warning("listing the files again", reason=str(failures[0]), missing=len(links) - len(complete))
            if attempt < LISTINGS_MAX:
                self._session.timer.wait(self._session.backoff.seconds(attempt))
                links = self._list_again(listing, links)
        raise _final_error(failures[0])

    def _list_again(self, listing: Listing, links: dict[str, Link]) -> dict[str, Link]:
        """New URLs of the same files.

        Raises:
            _ChangedError: they are not the same.
        """
        again = self._list(listing.inventory)
        if again.generated_at != listing.generated_at:
            raise _ChangedError("the generation changed")
        fresh = self._links(again)
        if fresh.keys() != links.keys():
            raise _ChangedError("the list of files changed")
        return {place: fresh[place] for place in links}

    def _links(self, listing: Listing) -> dict[str, Link]:
        links = [self._session.hosts.file(url) for url in listing.urls]
        return {link.place: link for link in links}


def _raise_incurable(failures: list[Exception], *, fetched: int) -> None:
    first = failures[0]
    if not is_incurable(first):
        return
    if isinstance(first, SourceUnreachable) and fetched:
        # Some files were downloaded: the storage can be reached, just not now.
        raise SourceUnavailable(str(first), hint=first.hint) from first
    raise first


def _final_error(failure: Exception) -> ConnectorError:
    if isinstance(failure, ConnectorError):
        return failure
    incomplete = SnapshotIncomplete(
        f"{failure}, after {LISTINGS_MAX} listings", hint="Nothing was staged. Is this machine's clock right?"
    )
    incomplete.__cause__ = failure
    return incomplete


def read_listing(body: bytes | bytearray) -> tuple[tuple[str, ...], datetime]:
    """The URLs of a listing, which may be none, and the time of its generation.

    Raises:
        ValueError, TypeError, RecursionError: it is not a listing.
    """
    envelope = {name: read_value(value) for name, value in read_envelope(body).items()}
    return _read_urls(envelope.get("exportFiles", [])), read_generated_time(envelope.get("generatedTime"))


def _read_urls(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(url, str) for url in values) or len(values) > PARTS_MAX:
        raise TypeError(f"exportFiles is not a list of up to {PARTS_MAX} URLs")
    return tuple(values)


def _generation_time(listing: Listing) -> datetime:
    assert listing.generated_at is not None  # noqa: S101 - a listing without it is malformed
    return listing.generated_at


def read_generated_time(text: object) -> datetime:
    """A generation's time, cut to milliseconds, which is what the state file keeps.

    Raises:
        ValueError, TypeError: it is not a time, or lies before the export existed.
    """
    if not isinstance(text, str):
        raise TypeError("generatedTime is not a string")
    moment = datetime.fromisoformat(text.strip())
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("generatedTime is outside of the calendar") from error
    if moment < GENERATION_MIN:
        raise ValueError(f"generatedTime is {moment.isoformat()}, which stands for no time")
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def check_clock(generated_at: datetime, now: datetime) -> None:
    """Refuse a generation that is dated further ahead than clocks differ, whichever of the two is wrong.

    Once taken, it would be the newest: every true generation up to its date would be older, and ignored.

    Raises:
        SnapshotIncomplete: it is dated more than `SKEW_MAX` ahead.
    """
    if generated_at <= now + SKEW_MAX:
        return
    error = SnapshotIncomplete(
        f"the generation is dated {generated_at:%Y-%m-%d %H:%M:%S} UTC, and this machine's clock says"
        f" {now.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        hint="Nothing was staged. Is this machine's clock right? If it is, the export is dated wrongly: the next poll"
        " tries again.",
    )
    error.generated_at = generated_at
    raise error


def digest_of(verified: list[Verified]) -> str:
    """Hex SHA-256 over files as received, independent of their order in the listing, and of their names and URLs."""
    text = "\n".join(sorted(file.digest for file in verified))
    return hashlib.sha256(text.encode()).hexdigest()
