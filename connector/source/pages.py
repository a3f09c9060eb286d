"""The JSON flavour of the export: a walk from page to page.

Owns what makes a walk one complete snapshot, and the page token. Must not know what is in the lines.

The pages are a cursor over the files of one generation, which the page token names where it can be read. Each nextLink
is followed byte for byte. A page may be short or empty and still have one. The end is believed only when told twice: a
nextLink that is missing by mistake would look like an end, and what is behind it like removed software. (One that is
missing twice in a row cannot be told from the end; then the guard has to notice.)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from connector.errors import ConnectorError, SnapshotIncomplete
from connector.model import Inventory
from connector.private_files import translated
from connector.source.files import FUTURE_MAX
from connector.source.folder import Verified
from connector.source.http.api import Call
from connector.source.http.hosts import Link
from connector.source.http.rate_limits import Endpoint
from connector.source.lines import Page
from connector.source.parts import PartWriter
from connector.source.session import Gear
from connector.telemetry import logger

log = logger(__name__)

ENDPOINTS: Final = {
    Inventory.CPE: Endpoint("SoftwareInventoryByMachine", 30, 1000),
    Inventory.NON_CPE: Endpoint("SoftwareInventoryNoProductCodeByMachine", 30, 1000),
}
"""Paths and limits. Source: Microsoft's page on the software inventory export (2025)."""

WALKS_MAX: Final = 3
PAGES_MAX: Final = 100_000
PAGE_BYTES_MAX: Final = 2**30
PAGE_SECONDS_MAX: Final = 900.0
WALK_SECONDS_MAX: Final = 6 * 3600.0
"""A generation's life; a walk that is slower than that follows a cursor that is gone."""

TOKEN_CHARACTERS_MAX: Final = 8192
_TOKEN: Final = re.compile(r"[?&](?:\$|%24)skiptoken=([^&#]*)", re.IGNORECASE)
_TIME_PATH: Final = re.compile(r"(\d{4}-\d\d-\d\d)/(\d\d)(\d\d)/?")


class _ChangedError(Exception):
    """The pages are not of one generation; never leaves this module."""


class Pages:
    """Fetches the JSON flavour.

    Args:
        gear: what a fetch needs.
    """

    def __init__(self, gear: Gear) -> None:
        self._gear = gear

    def fetch(self, inventory: Inventory, *, newer_than: datetime | None) -> Walk | None:
        """Bring every page of the newest generation to disk. None: it is told, and not newer than `newer_than`.

        Raises:
            SnapshotIncomplete: the pages contradict each other, or there are none.
            SourceError: as `Api.ask`.
            StateError: the staging folder cannot be used.
            Stopped: asked to stop.
        """
        for _ in range(WALKS_MAX):
            walk = Walk(self._gear, inventory)
            try:
                return walk if walk.go(newer_than) else None
            except _ChangedError as change:
                log.warning("the walk begins anew", inventory=inventory.value, reason=str(change))
            except ConnectorError as error:
                error.generated_at = walk.generated_at
                raise
        raise SnapshotIncomplete(
            f"the generation changed in the middle of {WALKS_MAX} walks through the pages",
            hint="Nothing was staged. The next poll tries again.",
        )


class Walk:
    """One walk through the pages.

    Attributes:
        begun_at: when it began.
        generated_at: of the generation; None where the page tokens do not tell.
        verified: a part for each page that has lines.
    """

    def __init__(self, gear: Gear, inventory: Inventory) -> None:
        self.begun_at = gear.timer.now()
        self.generated_at: datetime | None = None
        self.verified: list[Verified] = []
        self._gear = gear
        self._inventory = inventory
        self._deadline = gear.timer.monotonic() + WALK_SECONDS_MAX
        self._digest = hashlib.sha256()
        self._seen: set[bytes] = set()
        self._is_pinned = False

    @property
    def content_digest(self) -> str:
        """Hex SHA-256 over all lines, wherever pages begin."""
        return self._digest.hexdigest()

    def go(self, newer_than: datetime | None) -> bool:
        """Walk to the end. False: the generation is told, and not newer than `newer_than`.

        Raises:
            _ChangedError: the pages are not of one generation.
        """
        # A page of one record tells the generation by its nextLink, at the price of a small call.
        if not self._is_newer(self._ask(self._first_link(1)), newer_than):
            return False
        self._is_pinned = False
        self._gear.tally.begin(f"{self._inventory.label} pages", parts=None)
        folder = self._gear.staging.open_folder(self._inventory, "pages", fresh=True)
        link = self._first_link(self._gear.config.page_size)
        page = self._ask(link)
        for number in range(1, PAGES_MAX + 1):
            digest = self._store(page, folder, number)
            if page.next_link is None:
                page = self._ask_again(link, digest)
                if page.next_link is None:
                    return self._whole()
            link = self._follow(page.next_link)
            page = self._ask(link)
        raise _endless(f"{PAGES_MAX} pages")

    def _first_link(self, page_size: int) -> Link:
        return self._gear.hosts.api(f"/api/machines/{ENDPOINTS[self._inventory].path}?pageSize={page_size}")

    def _ask(self, link: Link) -> Page:
        if self._gear.timer.monotonic() > self._deadline:
            raise _endless(f"{WALK_SECONDS_MAX / 3600:.0f} hours")
        call = Call(ENDPOINTS[self._inventory], link, PAGE_BYTES_MAX, PAGE_SECONDS_MAX)
        page = self._gear.api.ask(call, Page.read)
        told = generation_of(page.next_link, self._gear.timer.now()) if page.next_link else None
        if told is not None and self.generated_at not in (None, told):
            raise _ChangedError("the generation changed")
        self.generated_at = told or self.generated_at
        self._is_pinned = self._is_pinned or told is not None
        return page

    def _ask_again(self, link: Link, digest: str) -> Page:
        """Ask for the last page once more. What it says now counts, as long as its lines are the same."""
        page = self._ask(link)
        lines = hashlib.sha256()
        for block in page.blocks():
            lines.update(block)
        if lines.hexdigest() != digest:
            raise _ChangedError("the last page changed")
        if page.next_link is not None:
            log.warning("a page without nextLink has one after all", inventory=self._inventory.value)
        return page

    def _follow(self, url: str) -> Link:
        seen = hashlib.sha256(url.encode("utf-8", "surrogatepass")).digest()
        if seen in self._seen:
            raise SnapshotIncomplete(
                "a page links to a page that came before", hint="Nothing was staged. The next poll tries again."
            )
        self._seen.add(seen)
        return self._gear.hosts.next_link(url)

    def _is_newer(self, page: Page, newer_than: datetime | None) -> bool:
        if self.generated_at is None or newer_than is None or self.generated_at > newer_than:
            return True
        if self.generated_at < newer_than:
            log.warning(
                "the pages are of an older generation than the inventory, and are left alone",
                inventory=self._inventory.value,
                generated_at=self.generated_at,
                inventory_generated_at=newer_than,
                records=page.records,
            )
        return False

    def _store(self, page: Page, folder: Path, number: int) -> str:
        """Write a page as one part. Returns the hex SHA-256 of its lines."""
        lines = hashlib.sha256()
        if not page.records:
            return lines.hexdigest()
        with translated(folder), PartWriter(folder, f"page-{number:06}", f"page-{number}") as writer:
            for block in page.blocks():
                writer.feed(block)
                self._digest.update(block)
            part = writer.finish()
            self.verified.append(Verified(part, part.name, writer.digest, writer.odd))
        self._gear.tally.verified(part)
        return writer.digest

    def _whole(self) -> bool:
        if not self.verified:
            raise SnapshotIncomplete(
                f"{ENDPOINTS[self._inventory].path} has no records",
                hint="Nothing was staged. They may not be ready yet: the next poll tries again. Does the application"
                " see any device?",
            )
        if self.generated_at is not None and not self._is_pinned:
            # No page of the walk itself told its generation: it is still the one that was told before, or another.
            self._ask(self._first_link(1))
        return True


def _endless(measure: str) -> SnapshotIncomplete:
    return SnapshotIncomplete(
        f"the walk through the pages has not ended after {measure}",
        hint='Nothing was staged. Larger pages (source.page_size), or source.method = "files", are quicker.',
    )


def generation_of(url: str, now: datetime) -> datetime | None:
    """The generation that a nextLink's page token names, at best effort; None where it cannot be read.

    The token is base64 of `{"ExportDefinition": {"TimePath": "2021-01-25/0200/"}, …}`, as the documentation's example
    decodes; no page documents it, so any other form is as good.
    """
    match = _TOKEN.search(url)
    if match is None or len(match[1]) > TOKEN_CHARACTERS_MAX:
        return None
    text = unquote(match[1]).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        found = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
        day, hours, minutes = _TIME_PATH.fullmatch(found["ExportDefinition"]["TimePath"]).groups()  # type: ignore[union-attr]  # None raises AttributeError
        moment = datetime.fromisoformat(f"{day}T{hours}:{minutes}:00").replace(tzinfo=UTC)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error):
        return None
    return moment if moment <= now + FUTURE_MAX else None
