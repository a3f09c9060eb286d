"""Decides which hosts a URL may name, before any connection is made.

Parses URLs that come from outside (`@odata.nextLink`, the export's file URLs) and checks their hosts. `transport`
fetches nothing but a `Link`, and only this module creates one.

The rules: https only; no user name; no fragment; the API's own host and port, the cloud's storage hosts on the standard
port, or a host of `source.allowed_hosts` on any port. An IP address is allowed only if it is listed. The text is never
rewritten: changing the quoting of a pre-signed URL invalidates its signature.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from connector.errors import SourceMalformed

HTTPS_PORT: Final = 443
PORT_MAX: Final = 65_535
URL_CHARACTERS_MAX: Final = 16_384
HOST_CHARACTERS_MAX: Final = 100

API_DOMAINS: Final = (
    "security.microsoft.com",
    "securitycenter.microsoft.com",
    "security.microsoft.us",
    "securitycenter.microsoft.us",
)
"""Domains of the API's addresses, worldwide and by region. Source: Microsoft's pages on the API's endpoints (2025)."""

_URL: Final = re.compile(
    r"(?i:https)://(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<target>/[!-\"$-\[\]-~]*)?"
)
"""Stricter than any browser: printable ASCII, no backslash, no `#`, so that every parser sees the same host."""


@dataclass(frozen=True, slots=True)
class Link:
    """A URL that passed the rules.

    Attributes:
        url: byte for byte as received; its query may be a signature, so it is never shown.
        host: lower case, without brackets.
        target: what follows host and port; begins with `/`.
        is_api: whether it names the API's own host and port, the only ones that a token is sent to.
    """

    url: str = field(repr=False)
    host: str
    port: int
    target: str = field(repr=False)
    is_api: bool

    @property
    def name(self) -> str:
        """The last segment of its path, without the query: the file name for people."""
        return self.target.partition("?")[0].rpartition("/")[2]

    @property
    def place(self) -> str:
        """Host, port and path without the query: the same for two signatures of one file."""
        return f"{self.host}:{self.port}{self.target.partition('?')[0]}"


class Hosts:
    """The hosts that a tenant's URLs may name.

    Args:
        api_url: the API's own address.
        storage_suffix: domain of the cloud's storage hosts, such as `blob.core.windows.net`.
        allowed: further host names, `*.suffix` or IP addresses.
    """

    def __init__(self, *, api_url: str, storage_suffix: str, allowed: Iterable[str] = ()) -> None:
        link = _parse(api_url)
        if link is None:
            raise ValueError("api_url is not an https URL")
        self._api_url = api_url.rstrip("/")
        self._api = link.host, link.port
        self._storage_suffix = storage_suffix.lower()
        self._allowed = tuple(host.lower() for host in allowed)

    def api(self, path_and_query: str) -> Link:
        """A link to the API itself."""
        return self._link(f"{self._api_url}{path_and_query}")

    def next_link(self, url: str) -> Link:
        """Check a page's nextLink.

        Raises:
            SourceMalformed: it does not name the API or a host of `source.allowed_hosts`.
        """
        link = self._link(url)
        if link.is_api or self._is_listed(link.host):
            return link
        raise _refused_host_error("nextLink", link.host, is_sibling=self._is_sibling(link.host))

    def file(self, url: str) -> Link:
        """Check a file's pre-signed URL.

        Raises:
            SourceMalformed: it names none of the API's host, the cloud's storage hosts and `source.allowed_hosts`.
        """
        link = self._link(url)
        is_storage = link.port == HTTPS_PORT and link.host.endswith("." + self._storage_suffix)
        if link.is_api or is_storage or self._is_listed(link.host):
            return link
        raise _refused_host_error("file", link.host)

    def _link(self, url: str) -> Link:
        link = _parse(url)
        if link is None:
            raise SourceMalformed(
                f"the API returned a URL that is not a plain https URL, on host {describe_host(url)}",
                hint="No connection was made. Does a proxy change responses?",
            )
        return Link(link.url, link.host, link.port, link.target, is_api=(link.host, link.port) == self._api)

    def _is_sibling(self, host: str) -> bool:
        """Whether a host looks like another address of the API, such as that of a region."""
        return any(
            host.endswith("." + domain) or host == domain
            for domain in (*API_DOMAINS, self._api[0].partition(".")[2])
            if "." in domain
        )

    def _is_listed(self, host: str) -> bool:
        return any(matches(host, pattern) for pattern in self._allowed)


def matches(host: str, pattern: str) -> bool:
    """Whether a host matches a pattern: a name, `*.suffix` (which excludes the suffix itself), or an IP address."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and _parse_address(host) is None
    listed = _parse_address(pattern)
    return host == pattern if listed is None else _parse_address(host) == listed


def describe_host(url: str) -> str:
    """The host in any text that was meant as a URL, for people: no user name, path or query, and limited in length."""
    host = re.split(r"[/?#\\]", url.partition("://")[2] or url, maxsplit=1)[0].rpartition("@")[2]
    return repr(host[:HOST_CHARACTERS_MAX])


def _parse(url: str) -> Link | None:
    match = _URL.fullmatch(url) if len(url) <= URL_CHARACTERS_MAX else None
    port = int(match["port"] or HTTPS_PORT) if match else 0
    if match is None or not 0 < port <= PORT_MAX:
        return None
    return Link(url, match["host"].strip("[]").lower(), port, match["target"] or "/", is_api=False)


def _parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _refused_host_error(kind: str, host: str, *, is_sibling: bool = False) -> SourceMalformed:
    hint = "No connection was made. If you trust that host, add it to source.allowed_hosts."
    if is_sibling:
        # A host in allowed_hosts gets no token, so that would only lead to a 401.
        hint = (
            f'No connection was made. If that is the API of your region, set source.api_url = "https://{host}":'
            " only that host gets the token."
        )
    return SourceMalformed(f"the API returned a {kind} URL on host {host!r}, which is not allowed", hint=hint)
