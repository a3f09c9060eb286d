"""Who may ask, and the headers of every response.

The pages show what a tenant has installed, and every program and web page on this machine can reach a port on
loopback. So: a random token in the link that is printed at the start, then a cookie, or the login of a trusted proxy;
only our own names as `Host`, against DNS that is rebound; nothing that another site asks for; nothing but GET and HEAD,
and, where decisions are allowed, the POST of a form that a page of ours has made.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from aiohttp import web

from connector.config import ConsoleConfig
from connector.operations.decisions import operator
from connector.web.pages import HELD

TOKEN_BYTES: Final = 32
METHODS: Final = ("GET", "HEAD")
OWN_SITES: Final = ("same-origin", "none")
"""Values of `Sec-Fetch-Site` of a request that a person or a page of ours makes."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - compared with, and not listened on


class Refusal(NamedTuple):
    """Why a request has no answer."""

    status: HTTPStatus
    text: str
    hint: str


READ_ONLY: Final = Refusal(
    HTTPStatus.METHOD_NOT_ALLOWED,
    "the console only shows",
    "Decide on the command line, or start the console with --allow-decisions.",
)
NOT_POSTED_HERE: Final = Refusal(
    HTTPStatus.METHOD_NOT_ALLOWED, "nothing can be posted here", "Decisions are made on the page of what is held."
)
UNENCRYPTED: Final = Refusal(
    HTTPStatus.FORBIDDEN, "this console talks in clear text to its proxy only", "Come by the proxy's address."
)
FOREIGN: Final = Refusal(HTTPStatus.FORBIDDEN, "another site asked for this page", "Type or paste its address instead.")
NO_BROWSER: Final = Refusal(
    HTTPStatus.FORBIDDEN, "decisions are made in a browser", "Scripts have `mde-inventory held approve` and `discard`."
)
OLD_FORM: Final = Refusal(
    HTTPStatus.FORBIDDEN, "this form is not from a page of this console; nothing was decided", "Load the page again."
)


class Access:
    """Decides about requests to one console. Token and cookie are random, and gone when it ends.

    Args:
        settings: where it listens, and who may come.
        port: that it got.
    """

    def __init__(self, settings: ConsoleConfig, port: int) -> None:
        host, _ = settings.address
        self.allow_decisions = settings.allow_decisions
        self.is_encrypted = settings.tls_certificate_path is not None
        self._scheme = "https" if self.is_encrypted else "http"
        self._proxies = [ipaddress.ip_network(network) for network in settings.trusted_proxies]
        self._user_header = settings.user_header
        address = f"[{host}]" if ":" in host else host
        names = [site.partition(":")[0] for site in settings.allowed_hosts]
        name = names[0] if names and host in EVERYWHERE else address
        self.origin = f"{self._scheme}://{name}:{port}"
        self._hosts = {f"{known}:{port}".lower() for known in (address, "127.0.0.1", "localhost", "[::1]", *names)}
        self._hosts |= {*settings.allowed_hosts}
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self._session = secrets.token_urlsafe(TOKEN_BYTES)
        self._form_key = secrets.token_bytes(TOKEN_BYTES)
        # With the port in its name, consoles side by side keep their own.
        self._cookie = f"mde_inventory_console_{port}"

    @property
    def link(self) -> str:
        """The address that lets a browser in."""
        return f"{self.origin}/?token={self.token}"

    def refusal(self, request: web.BaseRequest) -> Refusal | None:
        """Why a request is refused, before it is known who asks; None where it is not."""
        host = request.headers.get("Host", "")
        if not (self.is_encrypted or _is_near(request) or self._is_proxy(request)):
            return UNENCRYPTED
        if host.lower() not in self._hosts:
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST, "not an address of this console", f"Its address is {self.origin}/."
            )
        if request.method not in self.methods(request.path):
            return NOT_POSTED_HERE if self.allow_decisions else READ_ONLY
        return None if self._is_asked_by_us(request, host) else FOREIGN

    def _is_asked_by_us(self, request: web.BaseRequest, host: str) -> bool:
        """Whether a person or a page of ours asks, and not another site."""
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if request.method == "POST" and (site or origin) in {None, "none"}:
            return False  # every browser says where a form comes from
        # Somebody who logs in comes back to the proxy from the site of the login.
        comes_back = request.headers.get("Sec-Fetch-Mode") == "navigate" and request.method == "GET"
        if site is not None and site not in OWN_SITES and not (comes_back and self.user(request)):
            return False
        # A proxy may have encrypted what comes to us in clear text.
        schemes = {self._scheme, "https"} if self._is_proxy(request) else {self._scheme}
        return origin is None or origin in {f"{scheme}://{host}" for scheme in schemes}

    def _is_proxy(self, request: web.BaseRequest) -> bool:
        """Whether one of the trusted proxies asks for somebody."""
        peer = _peer(request)
        return peer is not None and any(peer in network for network in self._proxies)

    def user(self, request: web.BaseRequest) -> str:
        """Who has logged in to a trusted proxy; "" where nobody has, and for whoever else sends such a header."""
        names = request.headers.getall(self._user_header, [])
        # A second one may be what somebody sent to the proxy.
        return names[0].strip() if len(names) == 1 and self._is_proxy(request) else ""

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods that an address takes."""
        return (*METHODS, "POST") if self.allow_decisions and path == HELD else METHODS

    def visitor(self, request: web.BaseRequest) -> str:
        """Who asks, as the audit line of a decision names them: the proxy's user, or whoever gave the link."""
        user = self.user(request)
        if user:
            return user
        return operator() if _is_near(request) else f"{operator()}'s link, from {request.remote}"

    def form_token(self, visitor: str, tenant: str) -> str:
        """What shows that a page of ours made a form for somebody, about a tenant."""
        text = f"{visitor}\0{tenant}".encode("utf-8", "surrogatepass")
        return hmac.new(self._form_key, text, hashlib.sha256).hexdigest()

    def check_form(self, request: web.BaseRequest, token: str, tenant: str) -> Refusal | None:
        """Why a form is refused; None where it was posted with the cookie, and made for whoever posts it."""
        if not self.user(request) and not _is(request.cookies.get(self._cookie, ""), self._session):
            return NO_BROWSER
        return None if _is(token, self.form_token(self.visitor(request), tenant)) else OLD_FORM

    def admits(self, request: web.BaseRequest) -> bool:
        """Whether whoever asks has the cookie, a trusted proxy's login, or the token as `Authorization: Bearer`."""
        if self.user(request):
            return True
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _is(token.strip(), self.token):
            return True
        return _is(request.cookies.get(self._cookie, ""), self._session)

    def is_token(self, text: str) -> bool:
        """Whether this is the token of the link."""
        return _is(text, self.token)

    def let_in(self, response: web.StreamResponse) -> None:
        """Give whoever came by the link the cookie; it ends with the browser, or with the console."""
        response.set_cookie(
            self._cookie, self._session, httponly=True, samesite="Strict", path="/", secure=self.is_encrypted
        )

    def remember_tenant(self, response: web.StreamResponse, tenant: str) -> None:
        """Let further pages be about a tenant."""
        response.set_cookie(
            f"{self._cookie}_tenant",
            quote(tenant, safe=""),
            httponly=True,
            samesite="Strict",
            path="/",
            secure=self.is_encrypted,
        )

    def remembered_tenant(self, request: web.BaseRequest) -> str:
        """The tenant of the last page that named one."""
        return unquote(request.cookies.get(f"{self._cookie}_tenant", ""))


def _peer(request: web.BaseRequest) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that asks."""
    try:
        peer = ipaddress.ip_address((request.remote or "").partition("%")[0])
    except ValueError:
        return None
    return getattr(peer, "ipv4_mapped", None) or peer


def _is_near(request: web.BaseRequest) -> bool:
    """Whether this machine asks."""
    peer = _peer(request)
    return peer is not None and peer.is_loopback


def _is(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())
