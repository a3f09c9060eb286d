"""What Defender knows of the devices themselves (`/api/machines`): above all, when each of them was last seen.

Optional (`source.device_facts`): the list needs a permission of its own, and it only explains what the export shows.
Whatever keeps it away is a warning, and never stops a fetch. A page becomes one short line for each device, in a file
beside the parts of the snapshot, so that no more than one page is ever in memory.

The list is documented with pages of at most 10,000 devices, `$top` and `$skip`; where a page has a nextLink on the
API's own host, that is followed instead. Devices may move between two pages while they are read: one that is missed
has no facts, and of one that comes twice the later sight counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from connector import private_files
from connector.clock import milliseconds_of
from connector.errors import SnapshotError, SourceError, SourceMalformed, StateError
from connector.exports.fields import ApiEndpoint
from connector.source.files import read_generated_time
from connector.source.http.api import Call
from connector.source.http.hosts import Link
from connector.source.lines import UNREADABLE, Page, read_object, read_value
from connector.source.session import FetchSession
from connector.telemetry import logger

log = logger(__name__)

MACHINES: Final = ApiEndpoint("machines", 100, 1500)
"""The list of devices and its limits. Source: Microsoft's "List machines API" page (2025)."""

FILE_NAME: Final = "devices.ndjson"
PAGE_DEVICES: Final = 10_000
PAGE_BYTES_MAX: Final = 2**28
PAGE_SECONDS_MAX: Final = 120.0
PAGES_MAX: Final = 1_000
SECONDS_MAX: Final = 900.0
"""A list that takes longer is given up: the poll has waited long enough for an explanation."""

ID_CHARACTERS_MAX: Final = 256
TEXT_CHARACTERS_MAX: Final = 64
_NAMES: Final = ("id", "lastseen", "healthstatus", "onboardingstatus")


def fetch_device_facts(session: FetchSession, folder: Path) -> Path | None:
    """Fetch the list of devices into a file of that folder. None, and a warning, where it cannot be had.

    Each line has `device_id` in lower case, `last_seen` in milliseconds since 1970, `health` and `onboarding`; all but
    the first may be null.

    Raises:
        Stopped: asked to stop.
    """
    path, devices = folder / FILE_NAME, 0
    try:
        with private_files.translate_errors(path), private_files.create(path) as file:
            for page in _pages(session):
                lines = [line for block in page.blocks() for record in block.split(b"\n") if (line := facts_of(record))]
                file.write(b"".join(lines))
                devices += len(lines)
    except (SourceError, SnapshotError, StateError) as error:
        log.warning(
            "the facts about devices cannot be fetched; removals get the reasons that they have without them",
            error=str(error),
            hint=error.hint,
        )
        with suppress(OSError):
            path.unlink()
        return None
    log.info("facts about devices fetched", devices=devices)
    return path


def _pages(session: FetchSession) -> Iterator[Page]:
    """The pages of the list, to its end."""
    deadline = session.timer.monotonic() + SECONDS_MAX
    link, received, seen = _link(session, skip=0), 0, set[bytes]()
    for _ in range(PAGES_MAX):
        if session.timer.monotonic() > deadline:
            break
        page = session.api.ask(Call(MACHINES, link, PAGE_BYTES_MAX, PAGE_SECONDS_MAX), Page.read)
        yield page
        received += page.records
        digest = hashlib.sha256()
        for block in page.blocks():
            digest.update(block)
        if page.records and digest.digest() in seen:
            break
        seen.add(digest.digest())
        following = _following(session, page, received)
        if following is None:
            return
        link = following
    raise SourceMalformed(
        f"the list of devices has not ended after {received:,} devices", hint="The next poll tries again."
    )


def _following(session: FetchSession, page: Page, received: int) -> Link | None:
    """The link to the next page; None where this one is the last."""
    if page.next_link is None and page.records < PAGE_DEVICES:
        return None
    if page.next_link is not None:
        # A link to another host would get no token: the same devices are asked for by their number.
        with suppress(SourceMalformed):
            link = session.hosts.next_link(page.next_link)
            if link.is_api:
                return link
    return _link(session, skip=received)


def _link(session: FetchSession, *, skip: int) -> Link:
    following = f"&$skip={skip}" if skip else ""
    return session.hosts.api(f"/api/machines?$top={PAGE_DEVICES}{following}")


def facts_of(record: bytes) -> bytes:
    """The line of one device; empty where the record is none, or says not which device it is about."""
    try:
        properties = {name.lower(): bytes(value) for name, value in read_object(record).items()}
        device, seen, health, onboarding = (read_value(properties.get(name, b"null")) for name in _NAMES)
    except UNREADABLE:
        return b""
    if not isinstance(device, str) or not 0 < len(device) <= ID_CHARACTERS_MAX:
        return b""
    facts = {
        "device_id": device.lower(),
        "last_seen": _milliseconds(seen),
        "health": _text(health),
        "onboarding": _text(onboarding),
    }
    return json.dumps(facts).encode("ascii") + b"\n"


def _milliseconds(text: object) -> int | None:
    """A time that the list gives; None where it is none, or a placeholder."""
    try:
        return milliseconds_of(read_generated_time(text))
    except (ValueError, TypeError):
        return None


def _text(value: object) -> str | None:
    return value[:TEXT_CHARACTERS_MAX] if isinstance(value, str) and value else None
