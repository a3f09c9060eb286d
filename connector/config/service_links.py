"""Recognises the variables that Kubernetes and Docker add for a service or a link, which may begin with our prefix.

Why: a Service named `mde-inventory`, or `mde-inventory-metrics`, is announced to every pod of its namespace as
`MDE_INVENTORY_SERVICE_HOST`, `MDE_INVENTORY_PORT=tcp://10.96.12.7:9464` and more. Nobody wrote them, so they are no
misspelled keys. Both the name and the value must have the form of such a variable: `MDE_INVENTORY_HTTP_PORT=9464` is
still a misspelled key. A name with two underscores names a table and a key, and is never taken for a link, unless
Docker copied it from a container that is linked.

Sources: Kubernetes' page on Services (environment variables), Docker's page on legacy container links.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

_PROTOCOLS: Final = frozenset({"tcp", "udp", "sctp"})
_NAME: Final = re.compile(r"(.+)_NAME")


def find_service_links(environ: Mapping[str, str], prefix: str) -> frozenset[str]:
    """The names of the variables that Kubernetes or Docker added, of those that begin with `prefix`."""
    plain = {name: value for name, value in environ.items() if name.startswith(prefix) and "__" not in name}
    # Docker also copies the environment of a linked container, under any name; its `_NAME` shows that it did.
    linked = {name: stem for name, value in plain.items() if (stem := _linked_stem(name, value))}
    copied = {name for name in environ for stem in linked.values() if name.startswith(f"{stem}_ENV_")}
    formed = {
        name for name, value in plain.items() for form, is_value in _FORMS if form.fullmatch(name) and is_value(value)
    }
    return frozenset(linked.keys() | copied | formed)


def _linked_stem(name: str, value: str) -> str:
    """The stem of Docker's `<stem>_NAME=/consumer/alias`, else nothing."""
    match = _NAME.fullmatch(name)
    return match[1] if match and re.fullmatch(r"/[^/]+/[^/]+", value) else ""


def _is_port(value: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", value) is not None


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value.strip("[]"))
    except ValueError:
        return False
    return True


def _is_endpoint(value: str) -> bool:
    """`tcp://10.96.12.7:9464`."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in _PROTOCOLS and port is not None and _is_address(parts.hostname or "") and not parts.path


_FORMS: Final = (
    (re.compile(r".+_SERVICE_HOST"), _is_address),
    (re.compile(r".+_SERVICE_PORT(_[A-Z0-9_]+)?"), _is_port),
    (re.compile(r".+_PORT(_\d{1,5}_(TCP|UDP|SCTP))?"), _is_endpoint),
    (re.compile(r".+_PORT_\d{1,5}_(TCP|UDP|SCTP)_PROTO"), _PROTOCOLS.__contains__),
    (re.compile(r".+_PORT_\d{1,5}_(TCP|UDP|SCTP)_PORT"), _is_port),
    (re.compile(r".+_PORT_\d{1,5}_(TCP|UDP|SCTP)_ADDR"), _is_address),
)
"""The form of a variable's name, and the check of its value."""
