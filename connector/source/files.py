"""The files flavour of the export: list, download, resume, list again.

Owns what makes a set of files one complete snapshot: every file of one listing, each whole, and the same generation
from the first listing to the last. Must not download (`downloads`), nor know what is in the lines.

    no files, or none listed      listed again, then SnapshotIncomplete
    a file that is not whole      tried again, listed again, then SnapshotIncomplete
    a signature that expired      listed again; the same generation goes on with the new URLs
    another generation or list    begun anew, a few times
    no connection to the storage  SourceUnreachable, if nothing could be downloaded at all
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from connector.errors import (
    ConnectorError,
    SnapshotIncomplete,
    SourceMalformed,
    SourceUnavailable,
    SourceUnreachable,
)
from connector.model import Export, Inventory, Method
from connector.source.downloads import Downloads, is_grave
from connector.source.folder import Verified, VerifiedList
from connector.source.http.api import Call
from connector.source.http.hosts import Link
from connector.source.http.rate_limits import Endpoint
from connector.source.lines import UNREADABLE, read_value
from connector.source.session import Gear
from connector.telemetry import logger

log = logger(__name__)

ENDPOINTS: Final = {
    Inventory.CPE: Endpoint("SoftwareInventoryExport", 5, 20),
    Inventory.NON_CPE: Endpoint("SoftwareInventoryNonCpeExport", 5, 20),
}
"""Paths and limits. Source: Microsoft's page on the software inventory export (2025)."""

BEGINNINGS_MAX: Final = 3
"""How often a fetch begins anew because the generation changed under it."""

LISTINGS_MAX: Final = 4
"""How often the files of one beginning are listed: 20 listings an hour are all there are."""

PARTS_MAX: Final = 10_000
LISTING_BYTES_MAX: Final = 2**26
LISTING_SECONDS_MAX: Final = 120.0
DOWNLOAD_SECONDS_MAX: Final = 6 * 3600.0
"""As long as a generation lives, and a pre-signed URL at most."""

FUTURE_MAX: Final = timedelta(days=2)
"""A generation this far ahead of the clock is rubbish, whichever of the two is wrong."""


class _ChangedError(Exception):
    """The generation or its list of files is another than before; never leaves this module."""


class Files:
    """Fetches the files flavour.

    Args:
        gear: what a fetch needs.
    """

    def __init__(self, gear: Gear) -> None:
        self._gear = gear

    def fetch(self, inventory: Inventory, *, newer_than: datetime | None) -> tuple[datetime, list[Verified]] | None:
        """Bring every file of the newest generation to disk. None: it is not newer than `newer_than`.

        Raises:
            SnapshotIncomplete: the files cannot be had whole.
            SourceUnreachable: the file storage cannot be reached at all.
            SourceError: as `Api.ask`.
            StateError: the staging folder cannot be used.
            Stopped: asked to stop; what is whole stays for the next fetch.
        """
        for _ in range(BEGINNINGS_MAX):
            export = self._list(inventory)
            generated_at = _known(export)
            if newer_than is not None and generated_at <= newer_than:
                if generated_at < newer_than:
                    log.warning(
                        "the export is of an older generation than the inventory, and is left alone",
                        inventory=inventory.value,
                        generated_at=generated_at,
                        inventory_generated_at=newer_than,
                    )
                return None
            try:
                return generated_at, self._download(export)
            except _ChangedError as change:
                log.warning("the fetch begins anew", inventory=inventory.value, reason=str(change))
            except ConnectorError as error:
                error.generated_at = generated_at
                raise
        raise SnapshotIncomplete(
            f"the export changed {BEGINNINGS_MAX} times while it was fetched",
            hint="Nothing was staged. The next poll tries again.",
        )

    # ---- listing

    def _list(self, inventory: Inventory) -> Export:
        """Ask for the files, again where there are none: they may not be ready."""
        endpoint = ENDPOINTS[inventory]
        link = self._gear.hosts.api(f"/api/machines/{endpoint.path}?sasValidHours={self._gear.config.sas_valid_hours}")
        call = Call(endpoint, link, LISTING_BYTES_MAX, LISTING_SECONDS_MAX)
        for listing in range(1, LISTINGS_MAX):
            export = self._gear.api.ask(call, lambda body: self._read(inventory, body))
            if export.urls:
                return export
            log.warning("the export lists no files", inventory=inventory.value, listing=listing)
            if listing < LISTINGS_MAX - 1:
                self._gear.timer.wait(self._gear.backoff.seconds(listing))
        raise SnapshotIncomplete(
            f"{endpoint.path} lists no files",
            hint="Nothing was staged. They may not be ready yet: the next poll tries again. Does the application see"
            " any device?",
        )

    def _read(self, inventory: Inventory, body: bytearray) -> Export:
        try:
            found: Any = read_value(bytes(body))
            urls = _urls(found.get("exportFiles") or [])
            generated_at = read_generated_time(found.get("generatedTime"), self._gear.timer.now())
        except (*UNREADABLE, TypeError, AttributeError) as error:
            raise SourceMalformed(
                f"{ENDPOINTS[inventory].path} answers what it does not document: {str(error)[:200] or 'not JSON'}",
                hint="The next poll tries again. Is this machine's clock right? Is a proxy between?",
            ) from error
        return Export(inventory, Method.FILES, generated_at, urls)

    # ---- downloading

    def _download(self, export: Export) -> list[Verified]:
        """Every file of an export, in the order of its list; what was fetched before a restart is taken as it is."""
        links = self._links(export)
        folder = self._gear.staging.open_folder(export.inventory, f"{_known(export):%Y%m%dT%H%M%S%fZ}")
        verified = VerifiedList(folder)
        self._gear.tally.begin(f"{export.inventory.label} files", parts=len(links))
        for place in links:
            if (known := verified.get(place)) is not None:
                self._gear.tally.verified(known.part)
        fetched = 0
        deadline = self._gear.timer.monotonic() + DOWNLOAD_SECONDS_MAX
        for listing in range(1, LISTINGS_MAX + 1):
            missing = [link for place, link in links.items() if verified.get(place) is None]
            failures = Downloads(self._gear, folder, verified, deadline).run(missing)
            whole = [kept for place in links if (kept := verified.get(place)) is not None]
            if len(whole) == len(links):
                return whole
            fetched += len(whole) - len(links) + len(missing)
            _raise_incurable(failures, fetched=fetched)
            log.warning("files are listed again", reason=str(failures[0]), missing=len(links) - len(whole))
            if listing < LISTINGS_MAX:
                self._gear.timer.wait(self._gear.backoff.seconds(listing))
                links = self._listed_again(export, links)
        raise _incomplete(failures[0])

    def _listed_again(self, export: Export, links: dict[str, Link]) -> dict[str, Link]:
        """New URLs of the same files.

        Raises:
            _ChangedError: they are not the same.
        """
        again = self._list(export.inventory)
        if again.generated_at != export.generated_at:
            raise _ChangedError("the generation changed")
        fresh = self._links(again)
        if fresh.keys() != links.keys():
            raise _ChangedError("the list of files changed")
        return {place: fresh[place] for place in links}

    def _links(self, export: Export) -> dict[str, Link]:
        links = [self._gear.hosts.file(url) for url in export.urls]
        return {link.place: link for link in links}


def _raise_incurable(failures: list[Exception], *, fetched: int) -> None:
    first = failures[0]
    if not is_grave(first):
        return
    if isinstance(first, SourceUnreachable) and fetched:
        # Some files came: the storage can be reached, only not now.
        raise SourceUnavailable(str(first), hint=first.hint) from first
    raise first


def _incomplete(failure: Exception) -> ConnectorError:
    if isinstance(failure, ConnectorError):
        return failure
    incomplete = SnapshotIncomplete(
        f"{failure}, after {LISTINGS_MAX} listings", hint="Nothing was staged. Is this machine's clock right?"
    )
    incomplete.__cause__ = failure
    return incomplete


def _urls(found: object) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(url, str) for url in found) or len(found) > PARTS_MAX:
        raise TypeError(f"exportFiles is not a list of up to {PARTS_MAX} URLs")
    return tuple(found)


def _known(export: Export) -> datetime:
    assert export.generated_at is not None  # noqa: S101 - a listing without it is malformed
    return export.generated_at


def read_generated_time(text: object, now: datetime) -> datetime:
    """A generation's time, cut to milliseconds, which is what the state file keeps.

    Raises:
        ValueError, TypeError: it is no time, or lies far in the future.
    """
    if not isinstance(text, str):
        raise TypeError("generatedTime is no text")
    moment = datetime.fromisoformat(text.strip())
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment > now + FUTURE_MAX:
        raise ValueError(f"generatedTime is {moment.isoformat()}, and this machine's clock says {now.isoformat()}")
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def digest_of(verified: list[Verified]) -> str:
    """Hex SHA-256 over files as they came, in whatever order they are listed."""
    text = "\n".join(sorted(f"{one.place} {one.digest}" for one in verified))
    return hashlib.sha256(text.encode()).hexdigest()
