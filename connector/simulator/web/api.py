"""The export API: listings of files and JSON pages, with tokens and rate limits.

Implements the API's parameters, bodies and errors as Microsoft documents them. Runs in worker threads, since a first
request may write a generation.
"""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from typing import Final
from urllib.parse import quote, urlsplit

from connector.model import Inventory, Method
from connector.simulator.distort import distort_records, distorts_records
from connector.simulator.export import ExportGeneration, ExportPart, Exports, PagePosition, read_page
from connector.simulator.faults import Endpoint, Fault, FaultKind
from connector.simulator.web.answers import ServerRequest, ServerResponse, api_error, json_response
from connector.simulator.web.gate import Gate
from connector.simulator.web.storage import Storage
from connector.simulator.web.tokens import APPLICATION_ROLE

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
    """Also at the end of a part, so that pages in the middle are short."""
    EMPTY = "empty"
    """Like `SHORT`, and each part is followed by a page without records."""


class ExportApi:
    """The four endpoints of the software inventory."""

    def __init__(
        self,
        exports: Exports,
        storage: Storage,
        gate: Gate,
        *,
        page_shape: PageShape,
    ) -> None:
        self._exports = exports
        self._storage = storage
        self._gate = gate
        self._page_shape = page_shape
        self.base_url = ""

    def answer(self, request: ServerRequest, faults: tuple[Fault, ...]) -> ServerResponse:
        """Respond to a request for one of `ROUTES`."""
        endpoint, inventory = ROUTES[request.path]
        refusal = self._gate.refuse(request, endpoint, role=APPLICATION_ROLE)
        if refusal:
            return refusal
        if any(fault.kind is FaultKind.GENERATION_CHANGED for fault in faults):
            self._exports.advance()
        try:
            if endpoint is Endpoint.EXPORT:
                return self._listing(request, inventory, faults)
            return self._page(request, inventory, faults)
        except ValueError as error:
            return api_error(400, "BadRequest", str(error))

    def _listing(self, request: ServerRequest, inventory: Inventory, faults: tuple[Fault, ...]) -> ServerResponse:
        hours = _read_number(request, "sasValidHours", SAS_VALID_HOURS_DEFAULT, SAS_VALID_HOURS_MAX)
        generation = self._exports.current
        kinds = {fault.kind: fault for fault in faults}
        parts = _visible_parts(generation.parts(inventory, Method.FILES), kinds)
        urls: list[str] | None = [self._storage.url(generation, inventory, part, hours) for part in parts]
        if FaultKind.SHUFFLED_PARTS in kinds and urls:
            urls = [*urls[1::2], *urls[::2]]
        if FaultKind.FILES_ELSEWHERE in kinds and urls:
            urls = [_redirect(url, kinds[FaultKind.FILES_ELSEWHERE].url) for url in urls]
        if FaultKind.EMPTY_FILES in kinds:
            urls = []
        if FaultKind.NULL_FILES in kinds:
            urls = None
        time = generation.generated_at.strftime(_TIME)
        if FaultKind.GENERATED_TIME in kinds:
            time = kinds[FaultKind.GENERATED_TIME].text
        context = f"{self.base_url}/api/$metadata#microsoft.windowsDefenderATP.api.ExportFilesResponse"
        return json_response({"@odata.context": context, "exportFiles": urls, "generatedTime": time})

    def _page(self, request: ServerRequest, inventory: Inventory, faults: tuple[Fault, ...]) -> ServerResponse:
        size = _read_number(request, "pageSize", PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
        top = _read_number(request, "$top", 0, PAGE_SIZE_MAX)
        kinds = {fault.kind: fault for fault in faults}
        generation, position = self._find_position(request, changed=FaultKind.GENERATION_CHANGED in kinds)
        parts = _visible_parts(generation.parts(inventory, Method.JSON), kinds)
        shape = self._page_shape
        lines, following = read_page(
            parts,
            position,
            records_max=min(top or size, PAGE_SIZE_MAX),
            cross_parts=shape is PageShape.FULL,
            empty_after_part=shape is PageShape.EMPTY,
        )
        if distorts_records(faults):
            lines = distort_records(lines, faults)
        if top:
            following = None
        link = self._next_link(request, size, position, following, kinds)
        return self._page_response(lines, link, null=FaultKind.NULL_VALUE in kinds)

    def _find_position(self, request: ServerRequest, *, changed: bool) -> tuple[ExportGeneration, PagePosition]:
        """The generation and position named by the request's page token; without one, the beginning."""
        token = request.query.get("$skiptoken")
        if token is None:
            current = self._exports.current
            return current, PagePosition(current.time_path, 0, 0)
        position = PagePosition.read(token.removeprefix(_OPAQUE))
        generation = self._exports.current if changed else self._exports.at(position.time_path)
        if generation is None:
            raise ValueError("The page token's export is no longer available.")
        return generation, replace(position, time_path=generation.time_path)

    def _next_link(
        self,
        request: ServerRequest,
        size: int,
        position: PagePosition,
        following: PagePosition | None,
        kinds: dict[FaultKind, Fault],
    ) -> str | None:
        if FaultKind.NEXT_LINK_REPEATED in kinds:
            following = position
        if following is None or FaultKind.NEXT_LINK_MISSING in kinds:
            return None
        if FaultKind.NEXT_LINK_ENDLESS in kinds:
            return f"{self.base_url}{request.path}?{request.raw_query}&={size}"
        token = following.token()
        if FaultKind.NEXT_LINK_OPAQUE in kinds:
            token = _OPAQUE + token
        link = f"{self.base_url}{request.path}?pageSize={size}&$skiptoken={quote(token, safe='')}"
        elsewhere = kinds.get(FaultKind.NEXT_LINK_ELSEWHERE)
        return _redirect(link, elsewhere.url) if elsewhere else link

    def _page_response(self, lines: list[bytes], link: str | None, *, null: bool) -> ServerResponse:
        context = f"{self.base_url}/api/$metadata#Collection(microsoft.windowsDefenderATP.api.AssetSoftware)"
        last = f',"@odata.nextLink":{json.dumps(link)}' if link else ""
        begin, end = f'{{"@odata.context":{json.dumps(context)},"value":'.encode(), f"{last}}}".encode()
        if null or not lines:
            body = begin + (b"null" if null else b"[]") + end
        else:
            # Merged into the first and last record, so that a large page is joined, and kept in memory, only once.
            lines[0] = begin + b"[" + lines[0]
            lines[-1] += b"]" + end
            body = b",".join(lines)
        return ServerResponse(200, body, {"Content-Type": "application/json; odata.metadata=minimal"})


def _visible_parts(parts: tuple[ExportPart, ...], kinds: dict[FaultKind, Fault]) -> tuple[ExportPart, ...]:
    """The parts without those of a device group that the caller may no longer see."""
    fault = kinds.get(FaultKind.GROUP_MISSING)
    if fault is None or not parts:
        return parts
    group_id = parts[0].group_id if fault.group_id is None else fault.group_id
    return tuple(part for part in parts if part.group_id != group_id)


def _read_number(request: ServerRequest, name: str, default: int, maximum: int) -> int:
    """Read a whole-numbered parameter.

    Raises:
        ValueError: it is not a number from 1 to `maximum`.
    """
    text = next((value for key, value in request.query.items() if key.lower() == name.lower()), None)
    if text is None:
        return default
    if not text.isdecimal() or not 1 <= int(text) <= maximum:
        raise ValueError(f"The value of {name} must be from 1 to {maximum}.")
    return int(text)


def _redirect(url: str, root: str) -> str:
    parts = urlsplit(root)
    return urlsplit(url)._replace(scheme=parts.scheme, netloc=parts.netloc).geturl()
