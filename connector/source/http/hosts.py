"""Which hosts a URL may name, decided before a connection is made.

Owns the reading of URLs that came from outside (`@odata.nextLink`, the export's file URLs) and the list of hosts they
may point to. Must not reach the network: `transport` fetches nothing but a `Link`, and only this module makes one.

The rules: https only; no user name; no fragment; the API's own host and port, the cloud's storage hosts on the usual
port, or a host of `source.allowed_hosts` on any port. An IP address counts only where it is listed. The text is never
rewritten: a pre-signed URL whose quoting is changed loses its signature.
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
SHOWN_CHARACTERS_MAX: Final = 100

_URL: Final = re.compile(
    r"(?i:https)://(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<target>/[!-\"$-\[\]-~]*)?"
)
"""Stricter than any browser: printable ASCII, no backslash, no `#`, so that every reader of it sees the same host."""


@dataclass(frozen=True, slots=True)
class Link:
    """A URL that passed the rules.

    Attributes:
        url: byte for byte as it came; its query may be a signature, so it is never shown.
        host: lower case, without brackets.
        target: what follows host and port; begins with `/`.
        is_api: whether it names the API's own host and port, the only place a token is shown to.
    """

    url: str = field(repr=False)
    host: str
    port: int
    target: str = field(repr=False)
    is_api: bool

    @property
    def name(self) -> str:
        """The last piece of its path, without the query: what people know a file by."""
        return self.target.partition("?")[0].rpartition("/")[2]

    @property
    def place(self) -> str:
        """Host and path without the query: the same for two signatures of one file."""
        return f"{self.host}:{self.port}{self.target.partition('?')[0]}"


class Hosts:
    """The hosts that URLs of one tenant may name.

    Args:
        api_url: the API's own address.
        storage_suffix: suffix of the cloud's storage hosts, such as `blob.core.windows.net`.
        allowed: further host names, `*.suffix` or IP addresses.
    """

    def __init__(self, *, api_url: str, storage_suffix: str, allowed: Iterable[str] = ()) -> None:
        own = _read(api_url)
        if own is None:
            raise ValueError("api_url is not an https URL")
        self._api_url = api_url.rstrip("/")
        self._api = own.host, own.port
        self._storage_suffix = storage_suffix.lower()
        self._allowed = tuple(host.lower() for host in allowed)

    def api(self, path_and_query: str) -> Link:
        """A link to the API itself."""
        return self._link(f"{self._api_url}{path_and_query}")

    def next_link(self, url: str) -> Link:
        """A page's nextLink.

        Raises:
            SourceMalformed: it does not name the API or a host of `source.allowed_hosts`.
        """
        link = self._link(url)
        if link.is_api or self._listed(link.host):
            return link
        raise _refused("nextLink", link.host)

    def file(self, url: str) -> Link:
        """A file's pre-signed URL.

        Raises:
            SourceMalformed: it names none of the API's host, the cloud's storage hosts and `source.allowed_hosts`.
        """
        link = self._link(url)
        storage = link.port == HTTPS_PORT and link.host.endswith("." + self._storage_suffix)
        if link.is_api or storage or self._listed(link.host):
            return link
        raise _refused("file", link.host)

    def _link(self, url: str) -> Link:
        link = _read(url)
        if link is None:
            raise SourceMalformed(
                f"the API names a URL that is not a plain https URL, on host {shown_host(url)}",
                hint="No connection was made. A proxy that rewrites answers may be the cause.",
            )
        return Link(link.url, link.host, link.port, link.target, is_api=(link.host, link.port) == self._api)

    def _listed(self, host: str) -> bool:
        return any(matches(host, pattern) for pattern in self._allowed)


def matches(host: str, pattern: str) -> bool:
    """Whether a host is the one of a pattern: a name, `*.suffix` (which is not the suffix itself), or an IP address."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1 and _address(host) is None
    listed = _address(pattern)
    return host == pattern if listed is None else _address(host) == listed


def shown_host(url: str) -> str:
    """The host of any text that was meant as a URL, for people: no user name, no path, no query, of limited length."""
    host = re.split(r"[/?#\\]", url.partition("://")[2] or url, maxsplit=1)[0].rpartition("@")[2]
    return repr(host[:SHOWN_CHARACTERS_MAX])


def _read(url: str) -> Link | None:
    match = _URL.fullmatch(url) if len(url) <= URL_CHARACTERS_MAX else None
    port = int(match["port"] or HTTPS_PORT) if match else 0
    if match is None or not 0 < port <= PORT_MAX:
        return None
    return Link(url, match["host"].strip("[]").lower(), port, match["target"] or "/", is_api=False)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _refused(what: str, host: str) -> SourceMalformed:
    return SourceMalformed(
        f"the API names a {what} on host {host!r}, which is not allowed",
        hint="No connection was made. If you trust that host, add it to source.allowed_hosts.",
    )
