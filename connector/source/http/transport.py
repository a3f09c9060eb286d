"""HTTP: one request, one response, within limits. Retries and tokens are up to the caller.

Sessions never use `.netrc`, never follow a redirect, keep no cookies and never skip the verification of TLS; the usual
proxy variables are honoured, and a configured `ca_bundle` takes precedence over the environment.

No exception of requests or urllib3 leaves this module with a query string in any part of its chain: the query of a
pre-signed URL is a password.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.util.ssl_ import create_urllib3_context

from connector import __version__
from connector.errors import SourceMalformed, SourceUnavailable, SourceUnreachable
from connector.source.http.connections import (
    FAILURES,
    GRACE_SECONDS,
    POOLS,
    TimedRequest,
    bind_connections,
    remove_queries,
)
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
"""Bytes requested per read; TLS returns at most 16 KiB of them."""

CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
ERROR_CHAIN_MAX: Final = 16


class Response:
    """The status and headers of a response, and its body while it is open.

    Attributes:
        status: the HTTP status.
        headers: the headers by lower-case name.
    """

    def __init__(self, response: requests.Response, timed_request: TimedRequest) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = MappingProxyType(
            {name.lower(): value for name, value in response.headers.items()}
        )
        self._response = response
        self._request = timed_request

    def chunks(self, count_bytes: Callable[[int], None] = lambda _: None, *, decoded: bool = False) -> Iterator[bytes]:
        """The body, piece by piece as it arrives.

        Args:
            count_bytes: called for each piece with the number of bytes received over the network.
            decoded: whether to undo `Content-Encoding`.

        Raises:
            SourceUnavailable: the body ends early, or takes too long.
            Stopped: asked to stop.
        """
        raw = self._response.raw
        counted = raw.tell()
        while True:
            with _translate_errors(self._request, f"the response of {self._request.host}"):
                chunk = raw.read1(READ_BYTES, decode_content=decoded)
            size = raw.tell() - counted
            counted += size
            self._request.add_bytes(size)
            count_bytes(size)
            if not chunk:
                return
            yield chunk

    def body(self, bytes_max: int, count_bytes: Callable[[int], None] = lambda _: None) -> bytearray:
        """The whole decoded body.

        Args:
            bytes_max: the largest body that is accepted.
            count_bytes: called for each piece with the number of bytes received over the network.

        Raises:
            SourceMalformed: it is larger than `bytes_max`.
            SourceUnavailable: the body ends early, or takes too long.
            Stopped: asked to stop.
        """
        content = bytearray()
        for chunk in self.chunks(count_bytes, decoded=True):
            content += chunk
            if len(content) > bytes_max:
                raise SourceMalformed(
                    f"the response of {self._request.host} is longer than {bytes_max} bytes",
                    hint="A smaller source.page_size makes smaller pages.",
                )
        return content

    def beginning(self, bytes_max: int) -> bytes:
        """The first bytes of the decoded body, for an error's explanation: the status counts whatever the body is.

        Args:
            bytes_max: how many bytes to return at most; fewer where the body ends, or cannot be read.

        Raises:
            Stopped: asked to stop.
        """
        content = bytearray()
        with contextlib.suppress(SourceUnavailable):
            for chunk in self.chunks(decoded=True):
                content += chunk
                if len(content) >= bytes_max:
                    break
        return bytes(content[:bytes_max])


class Transport:
    """Makes requests. Use it as a context manager, or close it explicitly.

    Args:
        ca_bundle: a file of certificate authorities to trust instead of the default ones; "": those of
            $REQUESTS_CA_BUNDLE or $CURL_CA_BUNDLE, otherwise the default ones.
        stop: when set, ends every request.
        grace_seconds: how long a body may be slower than the minimum rate.
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

    @contextlib.contextmanager
    def get(
        self, link: Link, headers: Mapping[str, str], *, seconds_max: float, stop: threading.Event | None = None
    ) -> Iterator[Response]:
        """Request a link, its target byte for byte. The response is open inside the block.

        Args:
            link: a URL that passed the rules of `hosts`.
            headers: all headers but User-Agent.
            seconds_max: how long request and response may take in total.
            stop: when set, ends the request at once; by default the transport's.

        Raises:
            SourceUnreachable: no connection.
            SourceUnavailable: a connection, but no complete response.
            SourceMalformed: a redirect, or headers of excessive size.
            Stopped: asked to stop.
        """
        request = requests.PreparedRequest()
        request.prepare_method("GET")
        request.prepare_headers({"User-Agent": USER_AGENT, **headers})
        request.prepare_cookies({})
        request.prepare_hooks(None)
        request.url = link.url
        timed_request = self._limits.begin_request(link.host, seconds_max, stop or self.stop)
        response = None
        try:
            with _translate_errors(timed_request, link.host, self._limits.verify), bind_connections(timed_request):
                response = self._session.send(request, stream=True)
            _check_head(response, link.host)
            yield Response(response, timed_request)
        finally:
            timed_request.end()
            if response is not None:
                response.close()


class _Limits:
    """Time limits of sessions, and the authorities they trust."""

    def __init__(self, grace_seconds: float, silence_seconds_max: float, ca_bundle: str) -> None:
        self._grace_seconds = grace_seconds
        self.timeouts = (CONNECT_SECONDS_MAX, silence_seconds_max)
        self._ca_bundle = ca_bundle

    @property
    def verify(self) -> str | bool:
        """The file of authorities to trust, or True for those of requests. Never False."""
        paths = (self._ca_bundle, *(os.environ.get(variable, "") for variable in CA_VARIABLES))
        return next((path for path in paths if path), True)

    def begin_request(self, host: str, seconds_max: float, stop: threading.Event) -> TimedRequest:
        """Start the clock of a request to a host."""
        return TimedRequest(host, seconds_max=seconds_max, stop=stop, grace_seconds=self._grace_seconds)


class _Adapter(HTTPAdapter):
    """Creates timed connections, and leaves targets unchanged.

    Args:
        private: whether the authorities to trust are the operator's own. From Python 3.13 on, certificates are verified
            with VERIFY_X509_STRICT, which refuses authorities that many proxies and companies have (basic constraints
            that are not critical, no key identifier). Whoever names such an authority trusts it; all else is verified.
    """

    def __init__(self, *, private: bool) -> None:
        self._context = create_urllib3_context() if private else None
        if self._context is not None:
            self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as requests defines it
        super().init_poolmanager(*args, **options, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as requests defines it
        manager = super().proxy_manager_for(*args, **options, ssl_context=self._context)
        manager.pool_classes_by_scheme = POOLS
        return manager

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:  # noqa: ANN401 - as requests defines it
        url = request.url or ""
        target = "/" + url.partition("://")[2].partition("/")[2]
        return target if url.startswith("https://") else super().request_url(request, proxies)


class _Session(requests.Session):
    """A session with the rules of this module, whoever uses it. msal is given two of them.

    Args:
        proxies: whether to honour the proxy variables and allow https only; False for managed identities, whose
            endpoint is on this machine.
    """

    def __init__(self, stop: threading.Event, limits: _Limits, *, proxies: bool) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._stop = stop
        self._limits = limits
        self._proxies = proxies
        self.adapters.clear()
        for scheme in ("https://",) if proxies else ("https://", "http://"):
            self.mount(scheme, _Adapter(private=limits.verify is not True))

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:  # noqa: ANN401 - as requests defines it
        """Make a request for msal, and read the whole response, of limited size, within a deadline.

        Raises:
            SourceUnreachable, SourceUnavailable: no response, or one of a temporary failure: msal would cache such a
                response and return it again without asking.
            Stopped: asked to stop.
        """
        host = str(urlsplit(str(url)).hostname)
        timed_request = self._limits.begin_request(host, LOGIN_SECONDS_MAX, self._stop)
        try:
            with _translate_errors(timed_request, host, self._limits.verify), bind_connections(timed_request):
                response = super().request(method, url, *args, **{**options, "stream": True})
            with response:
                if response.status_code in UNAVAILABLE or response.status_code >= BROKEN:
                    raise SourceUnavailable(
                        f"the login service at {host} responded with {response.status_code}",
                        hint="The next poll tries again.",
                    )
                response._content = bytes(Response(response, timed_request).body(LOGIN_BYTES_MAX))  # noqa: SLF001 - the only way to limit it
            return response
        finally:
            timed_request.end()

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # noqa: ANN401 - as requests defines it
        """Send a request with our time-outs, authorities and proxies, and without redirects."""
        options.update(
            timeout=self._limits.timeouts,
            verify=self._limits.verify,
            cert=None,
            allow_redirects=False,
            proxies=get_environ_proxies(request.url or "", no_proxy=None) if self._proxies else {},
        )
        return super().send(request, **options)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Never follow or prepare a redirect."""
        del resp


def _check_head(response: requests.Response, host: str) -> None:
    size = sum(len(name) + len(value) for name, value in response.headers.items())
    if size > HEADER_BYTES_MAX:
        raise SourceMalformed(
            f"the response of {host} has {size} bytes of headers", hint="Does a proxy change responses?"
        )
    if response.is_redirect:
        raise SourceMalformed(
            f"{host} redirects (status {response.status_code}), and redirects are not followed",
            hint="Check source.api_url. A proxy that asks for a login also redirects.",
        )


@contextlib.contextmanager
def _translate_errors(request: TimedRequest, subject: str, trusted: str | bool = True) -> Iterator[None]:
    """Turn the exceptions of requests and urllib3 into ours, without queries.

    Args:
        request: the request that fails.
        subject: what was to be read, or whom from.
        trusted: the file of authorities that is trusted, or True for the default ones.
    """
    try:
        yield
    except (requests.RequestException, *FAILURES, UnicodeError, ValueError) as error:
        request.check()
        _redact(error)
        reason = _describe(error)
        if request.connected:
            raise SourceUnavailable(
                f"{subject} ended early or did not begin: {reason}", hint="The next poll tries again."
            ) from error
        raise SourceUnreachable(f"no connection to {subject}: {reason}", hint=_hint_for(error, trusted)) from error
    request.check()


def _describe(error: BaseException) -> str:
    """The innermost cause in a few words."""
    chain = _chain(error)
    inner = next((link for link in reversed(chain) if isinstance(link, OSError) and link.strerror), chain[-1])
    text = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return f"{type(inner).__name__}: {remove_queries(text)[:300]}"


def _hint_for(error: BaseException, trusted: str | bool) -> str:
    names = {type(link).__name__ for link in _chain(error)}
    if "InvalidSchema" in names:
        return "SOCKS proxies are not supported: name an HTTP proxy in HTTPS_PROXY, or the host in NO_PROXY."
    if names & {"SSLError", "SSLCertVerificationError", "CertificateError"} and isinstance(trusted, str):
        return (
            f"Only the authorities in {trusted} are trusted (source.ca_bundle, or the environment): add the one that"
            " signed this certificate. Where a proxy inspects TLS, that is the proxy's."
        )
    if names & {"SSLError", "SSLCertVerificationError", "CertificateError"}:
        return "If a private authority signs that certificate, name its file in source.ca_bundle."
    if "ProxyError" in names:
        return "Check HTTPS_PROXY and NO_PROXY."
    return "Check the name, the network, and HTTPS_PROXY if a proxy is needed."


def _chain(error: BaseException) -> list[BaseException]:
    """The exception and its causes."""
    chain: list[BaseException] = []
    pending = [error]
    while pending and len(chain) < ERROR_CHAIN_MAX:
        link = pending.pop(0)
        chain.append(link)
        causes = (link.__cause__, link.__context__, getattr(link, "reason", None), *link.args)
        pending += [cause for cause in causes if isinstance(cause, BaseException) and cause not in chain]
    return chain


def _redact(error: BaseException) -> None:
    """Remove queries, and the request with its headers, from an exception and its causes."""
    for link in _chain(error):
        if isinstance(link, OSError) and link.strerror and not isinstance(link, requests.RequestException):
            link.filename = None
            continue
        link.args = tuple(remove_queries(arg) if isinstance(arg, str) else arg for arg in link.args)
        for name, value in vars(link).items():
            if name in ("request", "response"):
                setattr(link, name, None)
            elif isinstance(value, str):
                setattr(link, name, remove_queries(value))
