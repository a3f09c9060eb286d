"""The JSON flavour of the export: a walk from page to page.

Decides when a walk is one complete snapshot, and reads the page token.

The pages are a cursor over the files of one generation, which the page token names if it can be read. Each nextLink is
followed byte for byte. A page may be short or empty and still have one. The end is believed only if a second request
confirms it: a nextLink that is missing by mistake would look like the end, and what follows it like removed software.
(One that is missing twice in a row cannot be distinguished from the end; then the guard has to notice.)

Where there is nothing yet to compare with, the guard cannot. Then an end at exactly a full page, or at an empty one, is
believed only if a second walk, with pages of another size, comes to the same lines. And where the page of one record,
with which every walk begins, has no nextLink, the walk must not come to more.

A page whose content the walk has seen before ends it, and the walk is incomplete: whether the export goes round in
circles under links that differ, or one page came instead of another, what is missing cannot be known.
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
from connector.private_files import translate_errors
from connector.source.files import GENERATION_MIN, check_clock
from connector.source.folder import Verified
from connector.source.http.api import Call
from connector.source.http.hosts import Link
from connector.source.lines import Page
from connector.source.parts import PartWriter
from connector.source.session import FetchSession
from connector.telemetry import logger

log = logger(__name__)

WALKS_MAX: Final = 3
PAGES_MAX: Final = 100_000
PAGE_SIZE_MAX: Final = 200_000
"""The API's largest page."""

PAGE_BYTES_MAX: Final = 2**30
PAGE_SECONDS_MAX: Final = 900.0
WALK_SECONDS_MAX: Final = 6 * 3600.0
"""The life of a generation: a slower walk would follow a cursor that has expired."""

TOKEN_CHARACTERS_MAX: Final = 8192
_TOKEN: Final = re.compile(r"[?&](?:\$|%24)skiptoken=([^&#]*)", re.IGNORECASE)
_TIME_PATH: Final = re.compile(r"(\d{4}-\d\d-\d\d)/(\d\d)(\d\d)/?")


class _ChangedError(Exception):
    """The pages are not of one generation; never leaves this module."""


class Pages:
    """Fetches the JSON flavour.

    Args:
        session: the collaborators of this fetch.
    """

    def __init__(self, session: FetchSession) -> None:
        self._session = session

    def fetch(self, inventory: Inventory, *, newer_than: datetime | None, again: bool = False) -> Walk | None:
        """Fetch every page of the newest generation; None where it is known and not newer than `newer_than`.

        With `again`, that generation itself is fetched too.

        Raises:
            SnapshotIncomplete: the pages contradict each other, have no records, or are dated ahead of now.
            SourceError: as `Api.ask`.
            StateError: the staging folder cannot be used.
            Stopped: asked to stop.
        """
        for _ in range(WALKS_MAX):
            walk = Walk(self._session, inventory)
            try:
                is_wanted = walk.run(newer_than, again=again)
                if is_wanted and newer_than is None:
                    walk.check_end()
            except _ChangedError as change:
                log.warning("the walk is started over", inventory=inventory.value, reason=str(change))
            except ConnectorError as error:
                error.generated_at = error.generated_at or walk.generated_at
                raise
            else:
                return walk if is_wanted else None
        raise SnapshotIncomplete(
            f"the generation changed during each of {WALKS_MAX} walks through the pages",
            hint="Nothing was staged. The next poll tries again.",
        )


class Walk:
    """One walk through the pages.

    Attributes:
        begun_at: when the walk began.
        generated_at: time of the generation; None where no page token names it.
        verified: one part for each page that has lines.
    """

    def __init__(self, session: FetchSession, inventory: Inventory) -> None:
        self.begun_at = session.timer.now()
        self.generated_at: datetime | None = None
        self.verified: list[Verified] = []
        self._session = session
        self._inventory = inventory
        self._endpoint = session.export.feed(inventory).pages
        self._deadline = session.timer.monotonic() + WALK_SECONDS_MAX
        self._digest = hashlib.sha256()
        self._followed: set[bytes] = set()
        self._stored: set[str] = set()
        self._is_pinned = False
        self._size = session.config.page_size
        self._records_max: int | None = None
        self._last_records = 0

    @property
    def content_digest(self) -> str:
        """Hex SHA-256 over all lines, independent of where pages begin."""
        return self._digest.hexdigest()

    def run(self, newer_than: datetime | None, *, again: bool = False) -> bool:
        """Walk to the end. Returns False where the generation is known and not newer than `newer_than`.

        With `again`, that generation itself is walked through too.

        Raises:
            _ChangedError: the pages are not of one generation.
        """
        # The nextLink of a page of one record names the generation, for the price of a small call.
        first = self._ask(self._first_link(1))
        self._records_max = first.records if first.next_link is None else None
        if not self._is_wanted(first, newer_than, again=again):
            return False
        self._is_pinned = False
        self._session.counter.begin(f"{self._inventory.label} pages", parts=None)
        folder = self._session.staging.open_folder(self._inventory, "pages", fresh=True)
        link = self._first_link(self._size)
        page = self._ask(link)
        for number in range(1, PAGES_MAX + 1):
            digest = self._store(page, folder, number)
            if page.next_link is None:
                page = self._ask_again(link, digest)
                if page.next_link is None:
                    self._last_records = page.records
                    return self._finish()
            link = self._follow(page.next_link)
            page = self._ask(link)
        raise _endless_walk_error(f"{PAGES_MAX} pages")

    def check_end(self) -> None:
        """Refuse a walk that may have ended too early, where nothing else could notice.

        Raises:
            SnapshotIncomplete: the export has more, or does not say how to get at it.
        """
        records = sum(file.part.lines for file in self.verified)
        if self._records_max is not None and self._records_max < records:
            raise _early_end_error("a page of one record has no nextLink, and there are more records")
        if self._last_records in (0, self._size) and self._digest_by_other_pages() != self.content_digest:
            raise _early_end_error("pages of another size have other records")

    def _digest_by_other_pages(self) -> str:
        """The content digest of a second walk, whose pages have another size; nothing is stored."""
        size = self._size + 1 if self._size < PAGE_SIZE_MAX else self._size - 1
        content, followed = hashlib.sha256(), set[str]()
        page = self._ask(self._first_link(size))
        for _ in range(PAGES_MAX):
            for block in page.blocks():
                content.update(block)
            if page.next_link is None or page.next_link in followed:
                break
            followed.add(page.next_link)
            page = self._ask(self._session.hosts.next_link(page.next_link))
        return content.hexdigest()

    def _first_link(self, page_size: int) -> Link:
        return self._session.hosts.api(f"/api/machines/{self._endpoint.path}?pageSize={page_size}")

    def _ask(self, link: Link) -> Page:
        if self._session.timer.monotonic() > self._deadline:
            raise _endless_walk_error(f"{WALK_SECONDS_MAX / 3600:.0f} hours")
        call = Call(self._endpoint, link, PAGE_BYTES_MAX, PAGE_SECONDS_MAX)
        page = self._session.api.ask(call, Page.read)
        generation = generation_of(page.next_link) if page.next_link else None
        if generation is not None:
            check_clock(generation, self._session.timer.now())
        if generation is not None and self.generated_at not in (None, generation):
            raise _ChangedError("the generation changed")
        self.generated_at = generation or self.generated_at
        self._is_pinned = self._is_pinned or generation is not None
        return page

    def _ask_again(self, link: Link, digest: str) -> Page:
        """Ask for the last page again. The second response counts, as long as its lines are the same."""
        page = self._ask(link)
        lines = hashlib.sha256()
        for block in page.blocks():
            lines.update(block)
        if lines.hexdigest() != digest:
            raise _ChangedError("the last page changed")
        if page.next_link is not None:
            log.warning("a page without nextLink had one when asked again", inventory=self._inventory.value)
        return page

    def _follow(self, url: str) -> Link:
        digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).digest()
        if digest in self._followed:
            raise SnapshotIncomplete(
                "a page links back to an earlier page", hint="Nothing was staged. The next poll tries again."
            )
        self._followed.add(digest)
        return self._session.hosts.next_link(url)

    def _is_wanted(self, page: Page, newer_than: datetime | None, *, again: bool) -> bool:
        if self.generated_at is None or newer_than is None or self.generated_at > newer_than:
            return True
        if again and self.generated_at == newer_than:
            return True
        if self.generated_at < newer_than:
            log.warning(
                "the pages are older than the inventory and are ignored",
                inventory=self._inventory.value,
                generated_at=self.generated_at,
                inventory_generated_at=newer_than,
                records=page.records,
            )
        return False

    def _store(self, page: Page, folder: Path, number: int) -> str:
        """Write a page as one part. Returns the hex SHA-256 of its lines.

        Raises:
            SnapshotIncomplete: a page of this walk had the same lines. Pages without lines may repeat.
        """
        lines = hashlib.sha256()
        if not page.records:
            return lines.hexdigest()
        documented = self._session.export.wire_names
        with translate_errors(folder), PartWriter(folder, f"page-{number:06}", f"page-{number}", documented) as writer:
            for block in page.blocks():
                writer.feed(block)
                self._digest.update(block)
            part = writer.finish()
            self.verified.append(Verified(part, part.name, writer.digest, writer.odd))
        if writer.digest in self._stored:
            raise SnapshotIncomplete(
                f"page {number} repeats an earlier page, so the pages may never end",
                hint='Nothing was staged. The next poll tries again; source.method = "files" needs no pages.',
            )
        self._stored.add(writer.digest)
        self._session.counter.add_part(part)
        return writer.digest

    def _finish(self) -> bool:
        if not self.verified:
            raise SnapshotIncomplete(
                f"{self._endpoint.path} has no records",
                hint="Nothing was staged. They may not be ready yet: the next poll tries again. Can the application"
                " see any device?",
            )
        if self.generated_at is not None and not self._is_pinned:
            # No page of the walk itself named its generation, which may have changed since the first call: check.
            self._ask(self._first_link(1))
        return True


def _early_end_error(reason: str) -> SnapshotIncomplete:
    return SnapshotIncomplete(
        f"the pages end too early: {reason}",
        hint="Nothing was staged. The next poll tries again. Does a proxy change responses?"
        ' source.method = "files" needs no pages.',
    )


def _endless_walk_error(measure: str) -> SnapshotIncomplete:
    return SnapshotIncomplete(
        f"the walk through the pages has not ended after {measure}",
        hint='Nothing was staged. Larger pages (source.page_size) or source.method = "files" are faster.',
    )


def generation_of(url: str) -> datetime | None:
    """The generation named by a nextLink's page token, on a best-effort basis; None where it cannot be read.

    The token is base64 of `{"ExportDefinition": {"TimePath": "2021-01-25/0200/"}, …}`, as the documentation's example
    decodes; nothing documents it, so any other form is possible.
    """
    match = _TOKEN.search(url)
    if match is None or len(match[1]) > TOKEN_CHARACTERS_MAX:
        return None
    text = unquote(match[1]).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        token = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
        day, hours, minutes = _TIME_PATH.fullmatch(token["ExportDefinition"]["TimePath"]).groups()  # type: ignore[union-attr]  # None raises AttributeError
        moment = datetime.fromisoformat(f"{day}T{hours}:{minutes}:00").replace(tzinfo=UTC)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error):
        return None
    return moment if moment >= GENERATION_MIN else None
