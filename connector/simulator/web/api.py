"""The export API: listings of files and JSON pages, let in by a token, within rate limits.

Owns the API's parameters, bodies and errors, as its published pages give them. Knows answers, not HTTP's machinery;
runs in worker threads, since a first answer may write a generation.
"""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from typing import Final
from urllib.parse import quote, urlsplit

from connector.model import Inventory, Method
from connector.simulator.distort import distort_records, distorts_records
from connector.simulator.export import ExportGeneration, ExportPart, Exports, Position, read_page
from connector.simulator.faults import Endpoint, Fault, FaultKind
from connector.simulator.web.answers import Answer, Asked, api_error, json_answer
from connector.simulator.web.limits import RateLimiter
from connector.simulator.web.storage import Storage
from connector.simulator.web.tokens import TokenAuthority

ROUTES: Final = {
    "/api/machines/SoftwareInventoryByMachine": (Endpoint.PAGES, Inventory.CPE),
    "/api/machines/SoftwareInventoryExport": (Endpoint.EXPORT, Inventory.CPE),
    "/api/machines/SoftwareInventoryNoProductCodeByMachine": (Endpoint.PAGES, Inventory.NON_CPE),
    "/api/machines/SoftwareInventoryNonCpeExport": (Endpoint.EXPORT, Inventory.NON_CPE),
}
PAGE_SIZE_DEFAULT: Final = 50_000
PAGE_SIZE_MAX: Final = 200_000
SAS_VALID_HOURS_DEFAULT: Final = 1
SAS_VALID_HOURS_MAX: Final = 6
_OPAQUE: Final = "opaque."
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class PageShape(StrEnum):
    """Where a page ends."""

    FULL = "full"
    """After `pageSize` records."""
    SHORT = "short"
    """Also at the end of a part, so pages in the middle are short."""
    EMPTY = "empty"
    """As short, and after each part comes a page without a record."""


class ExportApi:
    """Answers the four endpoints of the software inventory."""

    def __init__(
        self,
        exports: Exports,
        storage: Storage,
        tokens: TokenAuthority,
        limiter: RateLimiter,
        audiences: frozenset[str],
        *,
        page_shape: PageShape,
    ) -> None:
        self._exports = exports
        self._storage = storage
        self._tokens = tokens
        self._limiter = limiter
        self._audiences = audiences
        self._page_shape = page_shape
        self.base_url = ""

    def answer(self, asked: Asked, due: tuple[Fault, ...]) -> Answer:
        """Answer a request for one of `ROUTES`."""
        endpoint, inventory = ROUTES[asked.path]
        if asked.method != "GET":
            return api_error(405, "MethodNotAllowed", "The requested resource does not support this method.")
        refusal = self._tokens.refusal(asked.authorization, self._audiences)
        if refusal:
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'} if refusal.status == 401 else None  # noqa: PLR2004 - Unauthorized
            return api_error(refusal.status, refusal.code, refusal.message, headers)
        client = self._tokens.client_of(asked.authorization or "")
        wait = self._limiter.wait_seconds(client, asked.path, endpoint)
        if wait:
            message = "API calls quota exceeded. Try again later."
            return api_error(429, "TooManyRequests", message, {"Retry-After": str(int(wait) + 1)})
        if any(fault.kind is FaultKind.GENERATION_CHANGED for fault in due):
            self._exports.advance()
        try:
            if endpoint is Endpoint.EXPORT:
                return self._listing(asked, inventory, due)
            return self._page(asked, inventory, due)
        except ValueError as error:
            return api_error(400, "BadRequest", str(error))

    def _listing(self, asked: Asked, inventory: Inventory, due: tuple[Fault, ...]) -> Answer:
        hours = _number(asked, "sasValidHours", SAS_VALID_HOURS_DEFAULT, SAS_VALID_HOURS_MAX)
        generation = self._exports.current
        kinds = {fault.kind: fault for fault in due}
        parts = _parts_left(generation.parts(inventory, Method.FILES), kinds)
        urls: list[str] | None = [self._storage.url(generation, inventory, part, hours) for part in parts]
        if FaultKind.SHUFFLED_PARTS in kinds and urls:
            urls = [*urls[1::2], *urls[::2]]
        if FaultKind.FILES_ELSEWHERE in kinds and urls:
            urls = [_elsewhere(url, kinds[FaultKind.FILES_ELSEWHERE].url) for url in urls]
        if FaultKind.EMPTY_FILES in kinds:
            urls = []
        if FaultKind.NULL_FILES in kinds:
            urls = None
        time = generation.generated_at.strftime(_TIME)
        if FaultKind.GENERATED_TIME in kinds:
            time = kinds[FaultKind.GENERATED_TIME].text
        context = f"{self.base_url}/api/$metadata#microsoft.windowsDefenderATP.api.ExportFilesResponse"
        return json_answer({"@odata.context": context, "exportFiles": urls, "generatedTime": time})

    def _page(self, asked: Asked, inventory: Inventory, due: tuple[Fault, ...]) -> Answer:
        size = _number(asked, "pageSize", PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
        top = _number(asked, "$top", 0, PAGE_SIZE_MAX)
        kinds = {fault.kind: fault for fault in due}
        generation, position = self._place(asked, changed=FaultKind.GENERATION_CHANGED in kinds)
        parts = _parts_left(generation.parts(inventory, Method.JSON), kinds)
        shape = self._page_shape
        lines, following = read_page(
            parts,
            position,
            records_max=min(top or size, PAGE_SIZE_MAX),
            cross_parts=shape is PageShape.FULL,
            empty_after_part=shape is PageShape.EMPTY,
        )
        if distorts_records(due):
            lines = distort_records(lines, due)
        if top:
            following = None
        link = self._next_link(asked, size, position, following, kinds)
        return self._page_answer(lines, link, null=FaultKind.NULL_VALUE in kinds)

    def _place(self, asked: Asked, *, changed: bool) -> tuple[ExportGeneration, Position]:
        """The generation and position that the request's page token names; without one, the beginning."""
        token = asked.query.get("$skiptoken")
        if token is None:
            generation = self._exports.current
            return generation, Position(generation.time_path, 0, 0)
        position = Position.read(token.removeprefix(_OPAQUE))
        found = self._exports.current if changed else self._exports.at(position.time_path)
        if found is None:
            raise ValueError("The page token's export is no longer available.")
        return found, replace(position, time_path=found.time_path)

    def _next_link(
        self, asked: Asked, size: int, position: Position, following: Position | None, kinds: dict[FaultKind, Fault]
    ) -> str | None:
        if FaultKind.NEXT_LINK_REPEATED in kinds:
            following = position
        if following is None or FaultKind.NEXT_LINK_MISSING in kinds:
            return None
        token = following.token()
        if FaultKind.NEXT_LINK_OPAQUE in kinds:
            token = _OPAQUE + token
        link = f"{self.base_url}{asked.path}?pageSize={size}&$skiptoken={quote(token, safe='')}"
        elsewhere = kinds.get(FaultKind.NEXT_LINK_ELSEWHERE)
        return _elsewhere(link, elsewhere.url) if elsewhere else link

    def _page_answer(self, lines: list[bytes], link: str | None, *, null: bool) -> Answer:
        context = f"{self.base_url}/api/$metadata#Collection(microsoft.windowsDefenderATP.api.AssetSoftware)"
        last = f',"@odata.nextLink":{json.dumps(link)}' if link else ""
        begin, end = f'{{"@odata.context":{json.dumps(context)},"value":'.encode(), f"{last}}}".encode()
        if null or not lines:
            body = begin + (b"null" if null else b"[]") + end
        else:
            # Put into the first and the last record, so that a large page is joined, and held, only once.
            lines[0] = begin + b"[" + lines[0]
            lines[-1] += b"]" + end
            body = b",".join(lines)
        return Answer(200, body, {"Content-Type": "application/json; odata.metadata=minimal"})


def _parts_left(parts: tuple[ExportPart, ...], kinds: dict[FaultKind, Fault]) -> tuple[ExportPart, ...]:
    """The parts without those of a device group that the caller lost sight of."""
    fault = kinds.get(FaultKind.GROUP_MISSING)
    if fault is None or not parts:
        return parts
    group_id = parts[0].group_id if fault.group_id is None else fault.group_id
    return tuple(part for part in parts if part.group_id != group_id)


def _number(asked: Asked, name: str, default: int, most: int) -> int:
    """A whole-numbered parameter.

    Raises:
        ValueError: it is not a number from 1 to `most`.
    """
    text = next((value for key, value in asked.query.items() if key.lower() == name.lower()), None)
    if text is None:
        return default
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise ValueError(f"The value of {name} must be from 1 to {most}.")
    return int(text)


def _elsewhere(url: str, root: str) -> str:
    parts = urlsplit(root)
    return urlsplit(url)._replace(scheme=parts.scheme, netloc=parts.netloc).geturl()
