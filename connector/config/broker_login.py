"""How the connector logs in to brokers that take tokens: what follows from their addresses, and what cannot work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from connector.config import event_hubs

BrokerAuth = Literal["client", "aws_msk_iam", "managed_identity", "workload_identity"]
"""`kafka.auth`: as `[kafka.client]` says, or with tokens that the connector obtains."""

ENTRA: Final = ("managed_identity", "workload_identity")
"""Those of Microsoft Entra ID."""

OWNED_KEYS: Final = ("sasl.", "oauth_cb")
"""Keys of `[kafka.client]` that a login with tokens sets, by their beginning."""

_MSK_HOST: Final = re.compile(r"\.kafka(-serverless)?\.(?P<region>[a-z0-9-]+)\.(amazonaws\.com|api\.aws)(\.cn)?$")


def region_of(client: Mapping[str, Any]) -> str:
    """The region of Amazon MSK that the brokers' names say; "" where they say none."""
    matches = [match for host in event_hubs.hosts(client) if (match := _MSK_HOST.search(host))]
    return matches[0]["region"] if matches else ""


def scope_of(client: Mapping[str, Any]) -> str:
    """The scope of tokens for the namespace of Event Hubs that the brokers' names say; "" for other brokers."""
    hosts = event_hubs.hosts(client)
    return f"https://{hosts[0]}/.default" if event_hubs.uses_event_hubs(client) else ""


def find_problems(auth: BrokerAuth, client: Mapping[str, Any], *, region: str, scope: str) -> list[str]:
    """What cannot work with a login with tokens, a line each; nothing where `[kafka.client]` has the login.

    Args:
        auth: `kafka.auth`.
        client: `[kafka.client]`.
        region: given, or taken from the brokers' names.
        scope: the same.
    """
    if auth == "client":
        return []
    problems = [
        f"client.{key}: set by the connector where kafka.auth is {auth}, remove it here"
        for key in sorted(client)
        if key.startswith(OWNED_KEYS)
    ]
    if str(client.get("security.protocol", "SASL_SSL")).upper() != "SASL_SSL":
        problems.append(f'client.security.protocol: must be "SASL_SSL" where kafka.auth is {auth}')
    if auth == "aws_msk_iam" and not region:
        problems.append("auth_region: is needed, as client.bootstrap.servers names no region of Amazon MSK")
    if auth in ENTRA and not (scope.startswith(("https://", "api://")) and scope.endswith("/.default")):
        problems.append(
            "auth_scope: must be a URL that ends in /.default; it is needed for brokers that are no Event Hubs"
        )
    return problems
