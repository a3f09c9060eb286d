"""Identifiers that consumers deduplicate by: deterministic, so that the same change always has the same.

An event id is a UUID of version 5 (RFC 9562, section 5.5). Its name is made of tenant, snapshot id, change type,
inventory, device, vendor, name and version, each with its length in characters before it, so that no two lists of
parts make the same name. Made in SQL for millions of changes at once; `event_id` is the same in Python, for one.

A part of a Kafka key is the text itself or, where it is long, its beginning and a digest (`key_part`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from hashlib import sha1, sha256
from typing import Final

KEY_PART_BYTES_MAX: Final = 256

_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "mde-inventory-connector")


def event_namespace() -> bytes:
    """The namespace of the ids: 16 bytes, bound as `$namespace` beside `event_id_expression`."""
    return _NAMESPACE.bytes


def event_id_expression(*parts: str) -> str:
    """A SQL expression: the id of the event whose parts are given as SQL expressions yielding text."""
    name = " || ".join(f"length({part}) || ':' || {part}" for part in parts)
    digest = f"sha1($namespace::BLOB || encode({name}))"
    variant = "substr('89ab89ab89ab89ab', strpos('0123456789abcdef', digest[17]), 1)"
    return (
        f"list_transform([{digest}], lambda digest: digest[1:8] || '-' || digest[9:12] || '-5' || digest[14:16] || '-'"
        f" || {variant} || digest[18:20] || '-' || digest[21:32])[1]"
    )


def incident_key_expression(device: str, product: Sequence[str]) -> str:
    """A SQL expression: the key of what happens to a product on a device, whatever its version or inventory.

    `device` is an empty text for the summaries of a product.
    """
    return event_id_expression("$tenant", "'incident'", device, *product)


def event_id(*parts: str) -> str:
    """The id of an event: tenant, snapshot id, change type, inventory, device, vendor, name and version."""
    name = "".join(f"{len(part)}:{part}" for part in parts)
    digest = sha1(_NAMESPACE.bytes + name.encode(), usedforsecurity=False).hexdigest()
    # As `uuid.uuid5`, whose objects take most of the time where there are millions of them.
    variant = "89ab"[int(digest[16], 16) % 4]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def key_part(text: str) -> str:
    """A text as part of a key: itself or, beyond 256 bytes, its beginning and a digest, so that keys stay distinct."""
    raw = text.encode()
    if len(raw) <= KEY_PART_BYTES_MAX:
        return text
    tail = f"…sha256:{sha256(raw).hexdigest()}"
    return raw[: KEY_PART_BYTES_MAX - len(tail.encode())].decode(errors="ignore") + tail
