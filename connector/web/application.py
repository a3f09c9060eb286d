"""Answers requests: who asks, which page, in which form, and what becomes of errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final, TypeVar

from aiohttp import web

from connector.errors import ConfigError, ConnectorError, HoldChanged, StateError, StateLocked, fault_of
from connector.redaction import Redactor
from connector.telemetry import logger
from connector.web import openapi, rendering
from connector.web.access import HEADERS, Access, Refusal
from connector.web.decisions import Form, decide, read_values
from connector.web.pages import HELD, HOME, PAGES, Page, read_page
from connector.web.query import Query
from connector.web.views import exposure, past
from connector.web.visits import Answer, Facts, Visits

log = logger(__name__)

T = TypeVar("T")

WORKERS_MAX: Final = 4
"""Tenants whose files are read at a time."""

REQUESTS_MAX: Final = 16
"""Requests that wait for the file at a time; further ones are asked to come again."""
RETRY_SECONDS: Final = 5
JSON: Final = ".json"
STATIC: Final = {"console.css": "text/css", "icon.svg": "image/svg+xml"}
CSV: Final = {
    "/exposure.csv": (Page("Exposure", exposure.exposure_rows), exposure.CSV_NAMES),
    "/inventory.csv": (Page("Inventory", past.inventory_rows), past.CSV_NAMES),
}
"""Spreadsheets by address: what reads their rows, and the names of their columns."""
UNAUTHORIZED: Final = Refusal(
    HTTPStatus.UNAUTHORIZED,
    "this page needs the link that the console printed at its start",
    "Open that link in this browser; a `run` writes it into a file beside its state. If you came from another page,"
    " load this one again.",
)
FORM_TYPE: Final = "application/x-www-form-urlencoded"
FORM_BYTES_MAX: Final = 16_384
NO_FORM: Final = Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "this is no form of this page", "Load the page again.")
NOT_FOUND: Final = Refusal(HTTPStatus.NOT_FOUND, "there is no such page", "The menu has every page.")


class Application:
    """The pages about the state files of tenants.

    Args:
        visits: to their files, by the name of the tenant.
        access: decides who may see them.
    """

    def __init__(self, visits: Mapping[str, Visits], access: Access) -> None:
        self._visits = visits
        self._access = access
        self._pages = rendering.Pages()
        self._redactor = Redactor(secret for visit in visits.values() for secret in visit.assembly.config.secrets)
        self._workers = ThreadPoolExecutor(min(WORKERS_MAX, len(visits)), "console")
        self._waiting = 0
        # Style sheet and icon say nothing about the tenant, and the page that refuses needs them.
        folder = files("connector.web") / "static"
        self._static = {f"/static/{name}": ((folder / name).read_bytes(), kind) for name, kind in STATIC.items()}

    def close(self) -> None:
        """Wait for the last visit."""
        self._workers.shutdown()

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response to a request. Every one has the headers that protect it."""
        try:
            response = await self._respond(request)
        except ConnectorError as error:
            response = self._failure(request, error)
        except Exception as error:
            log.exception("a page failed", path=request.path, exc_info=error)
            response = self._failure(request, fault_of(error))
        response.headers.update(HEADERS)
        return response

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        refusal = self._access.refusal(request)
        if refusal is not None:
            return self._refuse(request, refusal)
        if request.path in self._static:
            body, kind = self._static[request.path]
            return web.Response(body=body, content_type=kind, charset="utf-8")
        comes_by_link = request.path == "/" and self._access.is_token(request.query.get("token", ""))
        if not comes_by_link and not self._access.admits(request):
            return self._refuse(request, UNAUTHORIZED)
        if request.path == "/":
            response = web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": HOME})
            if comes_by_link:
                self._access.let_in(response)
            return response
        if request.method == "POST":
            return await self._decide(request)
        tenant = self._tenant_of(request)
        response = await self._show(request, tenant)
        if "tenant" in request.query:
            self._access.remember_tenant(response, tenant)
        return response

    def _tenant_of(self, request: web.BaseRequest) -> str:
        """The tenant that a page is about: the one it names, the last one named, or the first.

        Raises:
            StateError: it names one that is not known.
        """
        named = request.query.get("tenant")
        if named is not None and named not in self._visits:
            raise StateError("there is no such tenant", hint="The menu has every tenant.")
        return self._menu_tenant(request) if named is None else named

    def _menu_tenant(self, request: web.BaseRequest) -> str:
        """The tenant that the menu shows as chosen."""
        wanted = request.query.get("tenant", self._access.remembered_tenant(request))
        return wanted if wanted in self._visits else next(iter(self._visits))

    async def _show(self, request: web.BaseRequest, tenant: str) -> web.Response:
        """A page for somebody who may see it."""
        query = Query({name: value for name, value in request.query.items() if name != "tenant"})
        if request.path in CSV:
            return await self._csv(request.path, tenant, query)
        if request.path == openapi.ADDRESS:
            return _json(openapi.document(self._access.origin))
        page = PAGES.get(request.path.removesuffix(JSON))
        if page is None:
            return self._refuse(request, NOT_FOUND)
        return await self._page(request, page, tenant, query)

    async def _page(self, request: web.BaseRequest, page: Page, tenant: str, query: Query) -> web.Response:
        path = request.path.removesuffix(JSON)
        answer = await self._read(tenant, path, page, query)
        if request.path.endswith(JSON):
            return _json(answer.facts | {"as_of_time": answer.as_of, "busy": answer.busy})
        twin = rendering.address(f"{path}{JSON}", tenant=tenant, **query.values)
        following = answer.facts.get("next")
        turns = {
            "first": _turned(path, tenant, query, "") if query.text("after") else "",
            "next": _turned(path, tenant, query, following) if following else "",
        }
        values = {"query": query.values, "answer": answer, "twin": twin, "turns": turns, **answer.facts}
        return self._html(request, path.removeprefix("/"), page.title, values)

    async def _decide(self, request: web.BaseRequest) -> web.Response:
        """A decision that was posted, once everything about it is right."""
        if request.content_type != FORM_TYPE or (request.content_length or FORM_BYTES_MAX + 1) > FORM_BYTES_MAX:
            return self._refuse(request, NO_FORM)
        values = read_values((await request.read()).decode("ascii", "replace"))
        tenant = values.get("tenant", "")
        if tenant not in self._visits:
            raise StateError("there is no such tenant; nothing was decided", hint="Load the page again.")
        refusal = self._access.check_form(request, values.get("token", ""), tenant)
        if refusal is not None:
            return self._refuse(request, refusal)
        form, who = Form.of(values), self._access.visitor(request)
        visits = self._visits[tenant]
        wait = visits.decision_wait_seconds
        facts = await self._in_turn(
            lambda: visits.decide(lambda assembly: decide(assembly, form, who, wait_seconds=wait))
        )
        facts["outage"] = self._redactor.redact(facts["outage"])
        return self._html(request, "decided", facts["title"], {"query": {}, "answer": None, **facts})

    async def _csv(self, path: str, tenant: str, query: Query) -> web.Response:
        page, names = CSV[path]
        answer = await self._read(tenant, path, page, query)
        text = rendering.as_csv(names, answer.facts["rows"])
        name = f"{path.removeprefix('/').removesuffix('.csv')}-{answer.as_of:%Y%m%dT%H%MZ}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=headers)

    async def _read(self, tenant: str, path: str, page: Page, query: Query) -> Answer:
        """What a page says.

        Raises:
            StateLocked: too many wait, or a poll has the file.
        """
        return await self._in_turn(lambda: read_page(self._visits[tenant], path, page, query))

    async def _in_turn(self, ask: Callable[[], T]) -> T:
        """One after the other, and only so many wait.

        Raises:
            StateLocked: too many wait, or a poll has the file.
        """
        if self._waiting >= REQUESTS_MAX:
            raise StateLocked("too many pages are asked for at once", hint="Try again in a few seconds.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, ask)
        finally:
            self._waiting -= 1

    def _html(
        self, request: web.BaseRequest, template: str, title: str, values: Facts, status: int = 200
    ) -> web.Response:
        path, tenant = request.path, self._menu_tenant(request)
        within = PAGES[path].within if path in PAGES else ""
        menu = [
            {"address": address, "name": page.menu, "current": address in {path, within}}
            for address, page in PAGES.items()
            if page.menu
        ]
        frame = {
            "title": title,
            "menu": menu,
            "twin": "",
            "turns": {"first": "", "next": ""},
            "home": HOME,
            "allow_decisions": self._access.allow_decisions,
            "tenant": tenant,
            "tenants": list(self._visits) if len(self._visits) > 1 else [],
            "form_token": self._access.form_token(self._access.visitor(request), tenant) if path == HELD else "",
        }
        text = self._pages.html(template, frame | values)
        return web.Response(text=text, content_type="text/html", charset="utf-8", status=status)

    def _refuse(self, request: web.BaseRequest, refusal: Refusal) -> web.Response:
        response = self._error(request, refusal.status, refusal.text, refusal.hint)
        if refusal.status is HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["Allow"] = ", ".join(self._access.methods(request.path))
        return response

    def _failure(self, request: web.BaseRequest, error: ConnectorError) -> web.Response:
        """An error as a page: what the query got wrong, what is not known, or a file that cannot be read now."""
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        if isinstance(error, ConfigError):
            status = HTTPStatus.BAD_REQUEST
        elif isinstance(error, HoldChanged):
            status = HTTPStatus.CONFLICT
        elif isinstance(error, StateError):
            # What the file cannot say has no cause; a file that cannot be read has one.
            is_unknown = error.__cause__ is None and type(error) is StateError
            status = HTTPStatus.NOT_FOUND if is_unknown else HTTPStatus.SERVICE_UNAVAILABLE
        text = self._redactor.redact(str(error)).removeprefix("--")
        response = self._error(request, status, text, error.hint, busy=isinstance(error, StateLocked))
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers["Retry-After"] = str(RETRY_SECONDS)
        return response

    def _error(
        self, request: web.BaseRequest, status: HTTPStatus, text: str, hint: str, *, busy: bool = False
    ) -> web.Response:
        if request.path.endswith(JSON):
            return _json({"error": text, "hint": hint, "busy": busy}, status=status)
        title = "Busy" if busy else status.phrase
        values = {"text": text, "hint": hint, "busy": busy, "query": {}, "answer": None}
        return self._html(request, "error", title, values, status=status)


def _turned(path: str, tenant: str, query: Query, after: str) -> str:
    """The address of another page of a list: the first, where it is after nothing."""
    return rendering.address(path, tenant=tenant, **(dict(query.values) | {"after": after}))


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(text=rendering.as_json(value), content_type="application/json", charset="utf-8", status=status)
