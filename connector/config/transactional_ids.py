"""The transactional id of a tenant that names none: stable, never random, and no other tenant's.

It is made of tenant and topic prefix, with a dot between them. Both may have dots: `contoso.com` with `au.mde` and
`contoso.com.au` with `mde` would have the same one, and fence each other. So each such text has one reading; a pair of
tenant and prefix that it does not read as is joined by a slash, which neither of them can have.
"""

from __future__ import annotations

import re
from typing import Final

BEGINNING: Final = "mde-inventory"
TOPIC_PREFIX: Final = "mde.software"
"""The default of `kafka.topic_prefix`."""

_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def default_transactional_id(tenant_id: str, topic_prefix: str) -> str:
    """The transactional id of a tenant and a topic prefix, and of no other pair of them."""
    is_read_back = _read(f"{tenant_id}.{topic_prefix}") == (tenant_id, topic_prefix)
    return f"{BEGINNING}.{tenant_id}{'.' if is_read_back else '/'}{topic_prefix}"


def _read(dotted: str) -> tuple[str, str]:
    """Tenant and topic prefix of a text in which a dot is between them.

    A GUID is a tenant; before the default prefix, everything is the tenant; else the last word is the prefix. These are
    the pairs that are common.
    """
    first, _, rest = dotted.partition(".")
    if _GUID.fullmatch(first):
        return first, rest
    if dotted.endswith(f".{TOPIC_PREFIX}"):
        return dotted.removesuffix(f".{TOPIC_PREFIX}"), TOPIC_PREFIX
    tenant_id, _, topic_prefix = dotted.rpartition(".")
    return tenant_id, topic_prefix
