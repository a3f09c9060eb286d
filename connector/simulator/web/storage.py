"""The storage host: pre-signed URLs, and the files they point to.

Implements signatures and Azure Storage's responses. A URL is valid byte for byte or not at all: the query must be
exactly the one that was signed.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, quote

from connector.model import Inventory, Method
from connector.simulator.distort import distorts_files, file_body
from connector.simulator.export import ExportGeneration, ExportPart, Exports
from connector.simulator.faults import Fault, FaultKind
from connector.simulator.web.answers import ServerRequest, ServerResponse, storage_error

_FOLDERS: Final = {Inventory.CPE: "SoftwareInventory", Inventory.NON_CPE: "SoftwareInventoryNonCpe"}
_INVENTORIES: Final = {folder: inventory for inventory, folder in _FOLDERS.items()}
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_FAILED: Final = (
    "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly"
    " including the signature."
)


class Storage:
    """Signs URLs of parts, and serves them."""

    def __init__(self, exports: Exports, tenant_id: str, *, clock: Callable[[], datetime]) -> None:
        self._exports = exports
        self._tenant_id = tenant_id
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self.base_url = ""

    def url(self, generation: ExportGeneration, inventory: Inventory, part: ExportPart, valid_hours: int) -> str:
        """A pre-signed URL, valid from now for `valid_hours`."""
        path = (
            f"/temp-{self._tenant_id}/{generation.time_path}{_FOLDERS[inventory]}/json/OrgId={self._tenant_id}"
            f"/_RbacGroupId={part.group_id}/{part.name}"
        )
        now = self._clock()
        ends = now + timedelta(hours=valid_hours)
        return f"{self.base_url}{path}?{self._query(path, now.strftime(_TIME), ends.strftime(_TIME))}"

    def find(self, path: str) -> tuple[Inventory, int, ExportPart] | None:
        """The inventory, number in the listing, and part that a path names."""
        pieces = path.split("/")
        if len(pieces) != 9 or pieces[4] not in _INVENTORIES:  # noqa: PLR2004 - as `url` builds them
            return None
        generation = self._exports.at(f"{pieces[2]}/{pieces[3]}/")
        inventory = _INVENTORIES[pieces[4]]
        parts = generation.parts(inventory, Method.FILES) if generation else ()
        numbered = ((number, part) for number, part in enumerate(parts) if part.name == pieces[8])
        match = next(numbered, None)
        return (inventory, *match) if match else None

    def answer(self, request: ServerRequest, faults: tuple[Fault, ...]) -> ServerResponse:
        """Respond to a request for a file."""
        if request.method not in ("GET", "HEAD"):
            return storage_error(405, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb.")
        if request.authorization is not None:
            return storage_error(
                400, "InvalidAuthenticationInfo", "Authentication information is not given in the correct format."
            )
        expired = any(fault.kind is FaultKind.EXPIRED_URL for fault in faults)
        refusal = self._refuse(request, expired=expired)
        if refusal:
            return refusal
        located = self.find(request.path)
        if located is None:
            return storage_error(404, "BlobNotFound", "The specified blob does not exist.")
        headers = {
            "Content-Type": "application/octet-stream",
            "x-ms-blob-type": "BlockBlob",
            "x-ms-version": "2023-11-03",
        }
        part = located[2]
        if not distorts_files(faults):
            return ServerResponse(200, part.path, headers)
        encoding = (
            {"Content-Encoding": "gzip"} if any(fault.kind is FaultKind.CONTENT_ENCODING for fault in faults) else {}
        )
        return ServerResponse(200, file_body(read_part(part.path), faults), {**headers, **encoding})

    def _refuse(self, request: ServerRequest, *, expired: bool) -> ServerResponse | None:
        query = {name: values[0] for name, values in parse_qs(request.raw_query).items()}
        begins, ends = query.get("st", ""), query.get("se", "")
        if not hmac.compare_digest(self._query(request.path, begins, ends).encode(), request.raw_query.encode()):
            return storage_error(403, "AuthenticationFailed", _FAILED, "Signature did not match.")
        now = self._clock().strftime(_TIME)
        if expired or not begins <= now < ends:
            detail = (
                f"Signature not valid in the specified key time frame: Start [{begins}] - Expiry [{ends}] - Current"
                f" [{now}]"
            )
            return storage_error(403, "AuthenticationFailed", _FAILED, detail)
        return None

    def _query(self, path: str, begins: str, ends: str) -> str:
        digest = hmac.new(self._key, f"{path}\n{begins}\n{ends}".encode(), hashlib.sha256).digest()
        signature = quote(base64.b64encode(digest).decode(), safe="")
        return f"sv=2023-11-03&st={quote(begins, safe='')}&se={quote(ends, safe='')}&sr=b&sp=r&sig={signature}"


def read_part(path: Path) -> list[bytes]:
    """The lines of a part of the files flavour, without newlines."""
    with gzip.open(path) as file:
        return file.read().splitlines()
