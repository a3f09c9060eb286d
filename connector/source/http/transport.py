"""HTTP: one request, one answer, within limits. Owns requests.

Sessions never use `.netrc`, never follow a redirect, keep no cookies and never skip the verification of TLS; the usual
proxy variables are honoured, and a configured `ca_bundle` wins over the environment. Must not know the API, retry, or
decide where a token goes.

No exception of requests or urllib3 leaves this module with a query string in it, in whatever part of its chain: the
query of a pre-signed URL is a password.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from connector import __version__
from connector.errors import SourceMalformed, SourceUnavailable, SourceUnreachable
from connector.source.http.connections import FAILURES, GRACE_SECONDS, POOLS, Exchange, bound, without_queries
from connector.source.http.hosts import Link

USER_AGENT: Final = f"mde-inventory-connector/{__version__}"
CONNECT_SECONDS_MAX: Final = 10.0
SILENCE_SECONDS_MAX: Final = 60.0
LOGIN_SECONDS_MAX: Final = 60.0
LOGIN_BYTES_MAX: Final = 2**20
UNAVAILABLE: Final = frozenset({408, 410, 429})
BROKEN: Final = 500
HEADER_BYTES_MAX: Final = 2**16
READ_BYTES: Final = 2**18
"""Bytes asked for at a time; TLS gives at most 16 KiB of them."""

CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
ERROR_CHAIN_MAX: Final = 16


class Answer:
    """The status and headers of an answer, and its body as long as it is open.

    Attributes:
        status: the HTTP status.
        headers: by lower-case name.
    """

    def __init__(self, response: requests.Response, exchange: Exchange) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = MappingProxyType(
            {name.lower(): value for name, value in response.headers.items()}
        )
        self._response = response
        self._exchange = exchange

    @property
    def is_json(self) -> bool:
        """Whether the body says that it is JSON."""
        return "json" in self.headers.get("content-type", "").lower()

    def chunks(self, received: Callable[[int], None] = lambda _: None, *, decoded: bool = False) -> Iterator[bytes]:
        """The body, piece by piece as it arrives.

        Args:
            received: told how many bytes came over the network for each piece.
            decoded: undo `Content-Encoding`.

        Raises:
            SourceUnavailable: it ends early, or takes too long.
            Stopped: asked to stop.
        """
        raw = self._response.raw
        counted = raw.tell()
        while True:
            with _translated(self._exchange, f"the answer of {self._exchange.what}"):
                chunk = raw.read1(READ_BYTES, decode_content=decoded)
            size = raw.tell() - counted
            counted += size
            self._exchange.received(size)
            received(size)
            if not chunk:
                return
            yield chunk

    def body(self, bytes_max: int, received: Callable[[int], None] = lambda _: None) -> bytearray:
        """The whole decoded body.

        Args:
            bytes_max: refused beyond this.
            received: told how many bytes came over the network for each piece.

        Raises:
            SourceMalformed: it is larger than `bytes_max`.
            SourceUnavailable: it ends early, or takes too long.
            Stopped: asked to stop.
        """
        content = bytearray()
        for chunk in self.chunks(received, decoded=True):
            content += chunk
            if len(content) > bytes_max:
                raise SourceMalformed(
                    f"{self._exchange.what} answers with more than {bytes_max} bytes",
                    hint="A smaller source.page_size makes smaller pages.",
                )
        return content


class Transport:
    """Makes requests. Use it as a context manager, or close it.

    Args:
        ca_bundle: a file of certificate authorities to trust instead of the usual ones; "": those of
            $REQUESTS_CA_BUNDLE or $CURL_CA_BUNDLE, else the usual ones.
        stop: ends every request when it is set.
        grace_seconds: how long a body may be slower than the least rate.
        silence_seconds_max: how long a connection may be silent.
    """

    def __init__(
        self,
        *,
        ca_bundle: str = "",
        stop: threading.Event | None = None,
        grace_seconds: float = GRACE_SECONDS,
        silence_seconds_max: float = SILENCE_SECONDS_MAX,
    ) -> None:
        self.stop = stop or threading.Event()
        self._limits = _Limits(grace_seconds, silence_seconds_max, ca_bundle)
        self._session = _Session(self.stop, self._limits, proxies=True)
        self.login_session: requests.Session = _Session(self.stop, self._limits, proxies=True)
        self.local_session: requests.Session = _Session(self.stop, self._limits, proxies=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        for session in (self._session, self.login_session, self.local_session):
            session.close()

    @contextmanager
    def get(
        self, link: Link, headers: Mapping[str, str], *, seconds_max: float, stop: threading.Event | None = None
    ) -> Iterator[Answer]:
        """Ask for a link, its target byte for byte. The answer is open inside the block.

        Args:
            link: passed the rules of `hosts`.
            headers: all of them.
            seconds_max: how long the whole exchange may take.
            stop: ends it at once; the transport's own where none is given.

        Raises:
            SourceUnreachable: no connection.
            SourceUnavailable: a connection, but no whole answer.
            SourceMalformed: a redirect, or headers without measure.
            Stopped: asked to stop.
        """
        request = requests.PreparedRequest()
        request.prepare_method("GET")
        request.prepare_headers({"User-Agent": USER_AGENT, **headers})
        request.prepare_cookies({})
        request.prepare_hooks(None)
        request.url = link.url
        exchange = self._limits.exchange(link.host, seconds_max, stop or self.stop)
        response = None
        try:
            with _translated(exchange, link.host), bound(exchange):
                response = self._session.send(request, stream=True)
            _check_head(response, link.host)
            yield Answer(response, exchange)
        finally:
            exchange.end()
            if response is not None:
                response.close()


class _Limits:
    """How patient sessions are, and whom they trust."""

    def __init__(self, grace_seconds: float, silence_seconds_max: float, ca_bundle: str) -> None:
        self._grace_seconds = grace_seconds
        self.timeouts = (CONNECT_SECONDS_MAX, silence_seconds_max)
        self._ca_bundle = ca_bundle

    @property
    def verify(self) -> str | bool:
        """The file of authorities to trust, or True: requests' own. Never False."""
        named = (self._ca_bundle, *(os.environ.get(variable, "") for variable in CA_VARIABLES))
        return next((path for path in named if path), True)

    def exchange(self, host: str, seconds_max: float, stop: threading.Event) -> Exchange:
        """A new exchange with a host."""
        return Exchange(host, seconds_max=seconds_max, stop=stop, grace_seconds=self._grace_seconds)


class _Adapter(HTTPAdapter):
    """Makes watched connections, and leaves targets as they are."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as requests defines it
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as requests defines it
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = POOLS
        return manager

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:  # noqa: ANN401 - as requests defines it
        url = request.url or ""
        target = "/" + url.partition("://")[2].partition("/")[2]
        return target if url.startswith("https://") else super().request_url(request, proxies)


class _Session(requests.Session):
    """A session with the rules of this module, whoever uses it. msal is given two of them.

    Args:
        proxies: whether the proxy variables count, and https is the only scheme; neither for managed identities, whose
            endpoint is on the machine.
    """

    def __init__(self, stop: threading.Event, limits: _Limits, *, proxies: bool) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._stop = stop
        self._limits = limits
        self._proxied = proxies
        self.adapters.clear()
        for scheme in ("https://",) if proxies else ("https://", "http://"):
            self.mount(scheme, _Adapter(max_retries=0))

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:  # noqa: ANN401 - as requests defines it
        """What msal calls: the whole answer, of limited size, within a deadline.

        Raises:
            SourceUnreachable, SourceUnavailable: no answer, or one that says that another time may be better: msal
                would keep such an answer, and give it again without asking.
            Stopped: asked to stop.
        """
        host = str(urlsplit(str(url)).hostname)
        exchange = self._limits.exchange(host, LOGIN_SECONDS_MAX, self._stop)
        try:
            with _translated(exchange, host), bound(exchange):
                response = super().request(method, url, *args, **{**options, "stream": True})
            with response:
                response._content = bytes(Answer(response, exchange).body(LOGIN_BYTES_MAX))  # noqa: SLF001 - the one way to cap it
            if response.status_code in UNAVAILABLE or response.status_code >= BROKEN:
                raise SourceUnavailable(
                    f"the login service at {host} answers {response.status_code}", hint="The next poll tries again."
                )
            return response
        finally:
            exchange.end()

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # noqa: ANN401 - as requests defines it
        """One request, with time-outs, the right authorities and proxies, and without redirects."""
        options.update(
            timeout=self._limits.timeouts,
            verify=self._limits.verify,
            cert=None,
            allow_redirects=False,
            proxies=get_environ_proxies(request.url or "", no_proxy=None) if self._proxied else {},
        )
        return super().send(request, **options)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No redirect is ever followed, nor prepared."""
        del resp


def _check_head(response: requests.Response, host: str) -> None:
    size = sum(len(name) + len(value) for name, value in response.headers.items())
    if size > HEADER_BYTES_MAX:
        raise SourceMalformed(f"{host} answers with {size} bytes of headers", hint="Is a proxy between?")
    if response.is_redirect:
        raise SourceMalformed(
            f"{host} redirects (status {response.status_code}), and redirects are not followed",
            hint="Check source.api_url. A proxy that asks for a login also redirects.",
        )


@contextmanager
def _translated(exchange: Exchange, what: str) -> Iterator[None]:
    """Turn the exceptions of requests and urllib3 into ours, without queries."""
    try:
        yield
    except (requests.RequestException, *FAILURES, UnicodeError, ValueError) as error:
        exchange.check()
        _clean(error)
        reason = _reason(error)
        if exchange.connected:
            raise SourceUnavailable(
                f"{what} ended early or not at all: {reason}", hint="The next poll tries again."
            ) from error
        raise SourceUnreachable(f"no connection to {what}: {reason}", hint=_hint(error)) from error
    exchange.check()


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words."""
    chain = _chain(error)
    inner = next((one for one in reversed(chain) if isinstance(one, OSError) and one.strerror), chain[-1])
    text = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return f"{type(inner).__name__}: {without_queries(text)[:300]}"


def _hint(error: BaseException) -> str:
    names = {type(one).__name__ for one in _chain(error)}
    if names & {"SSLError", "SSLCertVerificationError", "CertificateError"}:
        return "If a private authority signs that certificate, name its file in source.ca_bundle."
    if "ProxyError" in names:
        return "Check HTTPS_PROXY and NO_PROXY."
    return "Check the name, the network, and HTTPS_PROXY if a proxy is needed."


def _chain(error: BaseException) -> list[BaseException]:
    """The exception and what led to it."""
    chain: list[BaseException] = []
    ahead = [error]
    while ahead and len(chain) < ERROR_CHAIN_MAX:
        one = ahead.pop(0)
        chain.append(one)
        inner = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        ahead += [other for other in inner if isinstance(other, BaseException) and other not in chain]
    return chain


def _clean(error: BaseException) -> None:
    """Take queries, and the request with its headers, out of an exception and of what led to it."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.strerror and not isinstance(one, requests.RequestException):
            one.filename = None
            continue
        one.args = tuple(without_queries(arg) if isinstance(arg, str) else arg for arg in one.args)
        for name, value in vars(one).items():
            if name in ("request", "response"):
                setattr(one, name, None)
            elif isinstance(value, str):
                setattr(one, name, without_queries(value))
