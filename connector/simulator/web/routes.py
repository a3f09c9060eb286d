"""Which request is answered by what: the API, the authority, storage, and the simulator's own admin endpoint.

Owns the routes, the record of what was asked, and the faults that take the place of an answer. Must not know aiohttp.
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
from connector.simulator.faults import Endpoint, Fault, FaultKind, Faults, read_faults, written_faults
from connector.simulator.web.answers import Answer, Asked, api_error, json_answer, storage_error
from connector.simulator.web.api import ROUTES, ExportApi
from connector.simulator.web.identity import Identity, gives_tokens
from connector.simulator.web.server import Answering
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
    """What was asked; no value of a query and no token is kept.

    Attributes:
        host: of the Host header, with the port.
        endpoint: None: discovery, a device code, or a path that nothing answers.
        query_names: the names in the query, in their order.
        has_authorization: whether an Authorization header came.
        faults: what it met.
        status: of the answer; 0: none was given.
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
    """Answers what the two hosts are asked.

    Args:
        admin_token: what the admin endpoint wants to see in its header.
        advance: goes on by a number of generations, and tells the new one's time.
    """

    def __init__(
        self,
        api: ExportApi,
        storage: Storage,
        identity: Identity,
        faults: Faults,
        *,
        admin_token: str,
        advance: Callable[[int], datetime],
    ) -> None:
        self._api = api
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

    def answer_api(self, asked: Asked) -> Answering:
        """Answer a request to the API's and the authority's host."""
        if asked.path.startswith(ADMIN_PATH):
            return self._admin(asked), ()
        if asked.path in ROUTES:
            endpoint, inventory = ROUTES[asked.path]
            return self._answer(asked, endpoint, inventory, None, self._api.answer)
        token = Endpoint.TOKEN if gives_tokens(asked.path) else None
        return self._answer(asked, token, None, None, self._identity.answer)

    def answer_storage(self, asked: Asked) -> Answering:
        """Answer a request to the storage host."""
        found = self._storage.find(asked.path)
        inventory, place = (found[0], found[1]) if found else (None, None)
        return self._answer(asked, Endpoint.BLOB, inventory, place, self._storage.answer)

    def _answer(
        self,
        asked: Asked,
        endpoint: Endpoint | None,
        inventory: Inventory | None,
        part: int | None,
        answering: Callable[[Asked, tuple[Fault, ...]], Answer],
    ) -> Answering:
        due = self._faults.take(endpoint, inventory, part) if endpoint else ()
        kinds = tuple(fault.kind for fault in due)
        answer: Answer | None = None
        if not _UNANSWERED & set(kinds):
            instead = (_instead(fault, endpoint) for fault in due)
            found = next((answer for answer in instead if answer), None) or answering(asked, due)
            more = {name: value for fault in due for name, value in fault.headers.items()}
            answer = replace(found, headers={**found.headers, **more})
        self._requests.append(
            Request(
                method=asked.method,
                host=asked.host,
                path=asked.path,
                endpoint=endpoint,
                query_names=tuple(name for name, _ in parse_qsl(asked.raw_query, keep_blank_values=True)),
                has_authorization=asked.authorization is not None,
                faults=kinds,
                status=answer.status if answer else 0,
            )
        )
        return answer, due

    def _admin(self, asked: Asked) -> Answer:
        """The simulator's own endpoint: faults, generations, requests."""
        if not hmac.compare_digest(asked.headers.get(ADMIN_HEADER, ""), self._admin_token):
            return api_error(401, "Unauthorized", f"The header {ADMIN_HEADER} must be the token printed at start.")
        what = (asked.method, asked.path.removeprefix(ADMIN_PATH))
        try:
            if what == ("POST", "faults"):
                self._faults.add(*read_faults(json.loads(asked.body)))
            elif what == ("DELETE", "faults"):
                self._faults.clear()
            elif what == ("POST", "advance"):
                return json_answer({"generatedTime": self._advance(_generations(asked.query)).isoformat()})
            elif what == ("GET", "requests"):
                return json_answer([_written(request) for request in self._requests])
            elif what != ("GET", "faults"):
                return api_error(404, "ResourceNotFound", "GET, POST or DELETE faults; POST advance; GET requests.")
        except (ConfigError, ValueError) as error:
            return api_error(400, "BadRequest", str(error))
        return json_answer(written_faults(self._faults.pending))


def _generations(query: Mapping[str, str]) -> int:
    generations = int(query.get("generations", "1"))
    if not 1 <= generations <= GENERATIONS_MAX:
        raise ValueError(f"generations must be from 1 to {GENERATIONS_MAX}")
    return generations


GENERATIONS_MAX: Final = 10_000
"""By how many generations one step may go on."""


def _written(request: Request) -> dict[str, Any]:
    return {
        "method": request.method,
        "host": request.host,
        "path": request.path,
        "queryNames": request.query_names,
        "hasAuthorization": request.has_authorization,
        "faults": request.faults,
        "status": request.status,
    }


def _instead(fault: Fault, endpoint: Endpoint | None) -> Answer | None:
    """The answer that a fault gives in place of the endpoint's; None: the endpoint's own."""
    if fault.kind is FaultKind.STATUS:
        return _status(fault, endpoint)
    if fault.kind is FaultKind.REDIRECT:
        return Answer(302, b"", {"Location": fault.url})
    plain = {
        FaultKind.EMPTY_BODY: Answer(200, b"", {}),
        FaultKind.NO_CONTENT: Answer(204, b"", {}),
        FaultKind.BODY: Answer(200, fault.text.encode("utf-8", "surrogatepass"), _JSON),
        FaultKind.HTML_PAGE: Answer(200, _HTML, {"Content-Type": "text/html; charset=utf-8"}),
    }
    return plain.get(fault.kind)


def _status(fault: Fault, endpoint: Endpoint | None) -> Answer:
    after = fault.retry_after
    if after and after.startswith("date"):
        ahead = timedelta(seconds=float(after.removeprefix("date") or fault.seconds))
        after = format_datetime(datetime.now(UTC) + ahead, usegmt=True)
    headers = {"Retry-After": after} if after else {}
    code = _CODES.get(fault.status, "InternalServerError")
    message = fault.text or "The request failed on purpose."
    if endpoint is Endpoint.BLOB:
        found = storage_error(fault.status, code, message)
        return Answer(found.status, found.body, {**found.headers, **headers})
    if endpoint is Endpoint.TOKEN:
        return json_answer(
            {"error": "temporarily_unavailable", "error_description": message}, status=fault.status, headers=headers
        )
    return api_error(fault.status, code, message, headers)
