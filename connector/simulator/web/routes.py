"""Dispatches requests to the API, the authority, storage, and the simulator's own admin endpoint.

Also keeps a record of the requests, and applies the faults that replace a response.
"""

from __future__ import annotations

import hmac
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from connector.errors import ConfigError
from connector.model import Inventory
from connector.simulator.faults import Endpoint, Fault, FaultKind, Faults, dump_faults, read_faults
from connector.simulator.web.answers import ServerRequest, ServerResponse, api_error, json_response, storage_error
from connector.simulator.web.api import ROUTES, ExportApi
from connector.simulator.web.identity import Identity, is_token_path
from connector.simulator.web.machines import MACHINES_PATH, MachinesApi
from connector.simulator.web.server import ResponsePlan
from connector.simulator.web.storage import Storage

REQUESTS_KEPT: Final = 10_000
ADMIN_PATH: Final = "/simulator/"
ADMIN_HEADER: Final = "X-Simulator-Token"

_CODES: Final = {401: "Unauthorized", 403: "Forbidden", 404: "ResourceNotFound", 429: "TooManyRequests"}
_HTML: Final = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>"
)
_JSON: Final = {"Content-Type": "application/json"}
_UNANSWERED: Final = frozenset({FaultKind.CONNECTION_RESET, FaultKind.HANG})


@dataclass(frozen=True, slots=True)
class Request:
    """The record of one request, without any value of its query and without its token.

    Attributes:
        host: the Host header, with the port.
        endpoint: None for discovery, a device code, or an unknown path.
        query_names: the names in the query, in their order.
        has_authorization: whether it had an Authorization header.
        faults: the faults that it met.
        status: of the response; 0 if there was none.
    """

    method: str
    host: str
    path: str
    endpoint: Endpoint | None
    query_names: tuple[str, ...]
    has_authorization: bool
    faults: tuple[FaultKind, ...]
    status: int


class Routes:
    """Responds to the requests of both hosts.

    Args:
        admin_token: the token that the admin endpoint expects in its header.
        advance: advances by a number of generations, and returns the time of the new one.
    """

    def __init__(
        self,
        api: ExportApi,
        machines: MachinesApi,
        storage: Storage,
        identity: Identity,
        faults: Faults,
        *,
        admin_token: str,
        advance: Callable[[int], datetime],
    ) -> None:
        self._api = api
        self._machines = machines
        self._storage = storage
        self._identity = identity
        self._faults = faults
        self._admin_token = admin_token
        self._advance = advance
        self._requests: deque[Request] = deque(maxlen=REQUESTS_KEPT)

    @property
    def requests(self) -> tuple[Request, ...]:
        """The last requests, oldest first."""
        return tuple(self._requests)

    def answer_api(self, request: ServerRequest) -> ResponsePlan:
        """Respond to a request to the host of the API and the authority."""
        if request.path.startswith(ADMIN_PATH):
            return self._admin(request), ()
        if request.path in ROUTES:
            endpoint, inventory = ROUTES[request.path]
            return self._answer(request, endpoint, inventory, None, self._api.answer)
        if request.path == MACHINES_PATH:
            return self._answer(request, Endpoint.MACHINES, None, None, self._machines.answer)
        token = Endpoint.TOKEN if is_token_path(request.path) else None
        return self._answer(request, token, None, None, self._identity.answer)

    def answer_storage(self, request: ServerRequest) -> ResponsePlan:
        """Respond to a request to the storage host."""
        located = self._storage.find(request.path)
        inventory, number = (located[0], located[1]) if located else (None, None)
        return self._answer(request, Endpoint.BLOB, inventory, number, self._storage.answer)

    def _answer(
        self,
        request: ServerRequest,
        endpoint: Endpoint | None,
        inventory: Inventory | None,
        part: int | None,
        respond: Callable[[ServerRequest, tuple[Fault, ...]], ServerResponse],
    ) -> ResponsePlan:
        faults = self._faults.take(endpoint, inventory, part) if endpoint else ()
        kinds = tuple(fault.kind for fault in faults)
        response: ServerResponse | None = None
        if not _UNANSWERED & set(kinds):
            replacements = (_replace_response(fault, endpoint) for fault in faults)
            response = next((replacement for replacement in replacements if replacement), None)
            response = response or respond(request, faults)
            headers = {name: value for fault in faults for name, value in fault.headers.items()}
            response = replace(response, headers={**response.headers, **headers})
        self._requests.append(
            Request(
                method=request.method,
                host=request.host,
                path=request.path,
                endpoint=endpoint,
                query_names=tuple(name for name, _ in parse_qsl(request.raw_query, keep_blank_values=True)),
                has_authorization=request.authorization is not None,
                faults=kinds,
                status=response.status if response else 0,
            )
        )
        return response, faults

    def _admin(self, request: ServerRequest) -> ServerResponse:
        """The simulator's own endpoint: faults, generations, requests."""
        if not hmac.compare_digest(request.headers.get(ADMIN_HEADER, ""), self._admin_token):
            return api_error(401, "Unauthorized", f"The header {ADMIN_HEADER} must be the token printed at start.")
        operation = (request.method, request.path.removeprefix(ADMIN_PATH))
        try:
            if operation == ("POST", "faults"):
                self._faults.add(*read_faults(json.loads(request.body)))
            elif operation == ("DELETE", "faults"):
                self._faults.clear()
            elif operation == ("POST", "advance"):
                return json_response({"generatedTime": self._advance(_read_generations(request.query)).isoformat()})
            elif operation == ("GET", "requests"):
                return json_response([_as_json(record) for record in self._requests])
            elif operation != ("GET", "faults"):
                return api_error(404, "ResourceNotFound", "GET, POST or DELETE faults; POST advance; GET requests.")
        except (ConfigError, ValueError) as error:
            return api_error(400, "BadRequest", str(error))
        return json_response(dump_faults(self._faults.pending))


def _read_generations(query: Mapping[str, str]) -> int:
    generations = int(query.get("generations", "1"))
    if not 1 <= generations <= GENERATIONS_MAX:
        raise ValueError(f"generations must be from 1 to {GENERATIONS_MAX}")
    return generations


GENERATIONS_MAX: Final = 10_000
"""Generations that one request may advance at most."""


def _as_json(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "host": request.host,
        "path": request.path,
        "queryNames": request.query_names,
        "hasAuthorization": request.has_authorization,
        "faults": request.faults,
        "status": request.status,
    }


def _replace_response(fault: Fault, endpoint: Endpoint | None) -> ServerResponse | None:
    """The response that a fault puts in place of the endpoint's; None: the endpoint's own."""
    if fault.kind is FaultKind.STATUS:
        return _status_response(fault, endpoint)
    if fault.kind is FaultKind.REDIRECT:
        return ServerResponse(302, b"", {"Location": fault.url})
    responses = {
        FaultKind.EMPTY_BODY: ServerResponse(200, b"", {}),
        FaultKind.NO_CONTENT: ServerResponse(204, b"", {}),
        FaultKind.BODY: ServerResponse(200, fault.text.encode("utf-8", "surrogatepass"), _JSON),
        FaultKind.HTML_PAGE: ServerResponse(200, _HTML, {"Content-Type": "text/html; charset=utf-8"}),
    }
    return responses.get(fault.kind)


def _status_response(fault: Fault, endpoint: Endpoint | None) -> ServerResponse:
    after = fault.retry_after
    if after and after.startswith("date"):
        ahead = timedelta(seconds=float(after.removeprefix("date") or fault.seconds))
        after = format_datetime(datetime.now(UTC) + ahead, usegmt=True)
    headers = {"Retry-After": after} if after else {}
    code = _CODES.get(fault.status, "InternalServerError")
    message = fault.text or "The request failed on purpose."
    if endpoint is Endpoint.BLOB:
        response = storage_error(fault.status, code, message)
        return replace(response, headers={**response.headers, **headers})
    if endpoint is Endpoint.TOKEN:
        return json_response(
            {"error": "temporarily_unavailable", "error_description": message}, status=fault.status, headers=headers
        )
    return api_error(fault.status, code, message, headers)
