"""Who may ask, and the headers of every response.

The pages show what a tenant has installed, and every program and web page on this machine can reach a port on
loopback. So: a random token in the link that is printed at the start, then a cookie; only the names of loopback as
`Host`, against DNS that is rebound; nothing that another site asks for; nothing but GET and HEAD, and, where decisions
are allowed, the POST of a form that a page of ours has made.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from http import HTTPStatus
from typing import Final, NamedTuple

from aiohttp import web

from connector.errors import ConfigError
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
FOREIGN: Final = Refusal(HTTPStatus.FORBIDDEN, "another site asked for this page", "Type or paste its address instead.")
NO_BROWSER: Final = Refusal(
    HTTPStatus.FORBIDDEN, "decisions are made in a browser", "Scripts have `mde-inventory held approve` and `discard`."
)
OLD_FORM: Final = Refusal(
    HTTPStatus.FORBIDDEN, "this form is not from a page of this console; nothing was decided", "Load the page again."
)


def check_loopback(listen: str) -> tuple[str, int]:
    """Host and port of an address that only this machine can reach.

    Raises:
        ConfigError: it is not one.
    """
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isascii() or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004 - the last port
        raise ConfigError(f"--listen {listen}: not host:port", hint="Use 127.0.0.1:8787, or port 0 for a free one.")
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigError(
            f"--listen {listen}: the console listens on loopback only",
            hint="Use 127.0.0.1:8787; from elsewhere, forward the port: ssh -L 8787:127.0.0.1:8787 HOST.",
        )
    return ("127.0.0.1" if host == "localhost" else host), int(port)


class Access:
    """Decides about requests to one console. Token and cookie are random, and gone when it ends.

    Args:
        host, port: where it listens.
        allow_decisions: whether forms may be posted.
    """

    def __init__(self, host: str, port: int, *, allow_decisions: bool = False) -> None:
        self.allow_decisions = allow_decisions
        name = f"[{host}]" if ":" in host else host
        self.origin = f"http://{name}:{port}"
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self._session = secrets.token_urlsafe(TOKEN_BYTES)
        self._form_key = secrets.token_bytes(TOKEN_BYTES)
        # With the port in its name, consoles side by side keep their own.
        self._cookie = f"mde_inventory_console_{port}"
        self._hosts = {f"{known}:{port}" for known in (name, "127.0.0.1", "localhost", "[::1]")}

    @property
    def link(self) -> str:
        """The address that lets a browser in."""
        return f"{self.origin}/?token={self.token}"

    def refusal(self, request: web.BaseRequest) -> Refusal | None:
        """Why a request is refused, before it is known who asks; None where it is not."""
        host = request.headers.get("Host", "")
        if host.lower() not in self._hosts:
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST, "not an address of this console", f"Its address is {self.origin}/."
            )
        if request.method not in self.methods(request.path):
            return NOT_POSTED_HERE if self.allow_decisions else READ_ONLY
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if (site is not None and site not in OWN_SITES) or (origin is not None and origin != f"http://{host}"):
            return FOREIGN
        if request.method == "POST" and (site or origin) in {None, "none"}:
            # Every browser says where a form comes from.
            return FOREIGN
        return None

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods that an address takes."""
        return (*METHODS, "POST") if self.allow_decisions and path == HELD else METHODS

    def visitor(self, _request: web.BaseRequest) -> str:
        """Who asks, as the audit line of a decision names them: with the link comes whoever runs the console."""
        return operator()

    def form_token(self, visitor: str) -> str:
        """What shows that a page of ours made a form for somebody."""
        return hmac.new(self._form_key, visitor.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def check_form(self, request: web.BaseRequest, token: str) -> Refusal | None:
        """Why a form is refused; None where it was posted with the cookie, and made for whoever posts it."""
        if not _is(request.cookies.get(self._cookie, ""), self._session):
            return NO_BROWSER
        return None if _is(token, self.form_token(self.visitor(request))) else OLD_FORM

    def admits(self, request: web.BaseRequest) -> bool:
        """Whether whoever asks has the cookie, or the token as `Authorization: Bearer`, as scripts do."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _is(token.strip(), self.token):
            return True
        return _is(request.cookies.get(self._cookie, ""), self._session)

    def is_token(self, text: str) -> bool:
        """Whether this is the token of the link."""
        return _is(text, self.token)

    def let_in(self, response: web.StreamResponse) -> None:
        """Give whoever came by the link the cookie; it ends with the browser, or with the console."""
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="Strict", path="/")


def _is(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())
