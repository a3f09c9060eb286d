"""Azure Event Hubs as a Kafka broker: how to recognise it, which settings it needs, and which cannot work with it.

Source: Microsoft's pages on Event Hubs for Apache Kafka: recommended configurations for Kafka clients, and the limits
of the service (2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SUFFIXES: Final = (".servicebus.windows.net", ".servicebus.usgovcloudapi.net", ".servicebus.chinacloudapi.cn")
PORT: Final = "9093"
MESSAGE_BYTES_MAX: Final = 1_046_528
USER: Final = "$ConnectionString"
"""The user name of PLAIN; the password is the namespace's connection string."""

CLIENT_DEFAULTS: Final[dict[str, Any]] = {
    # The service closes connections that are idle for four minutes, and not every network reports it.
    "socket.keepalive.enable": True,
    "metadata.max.age.ms": 180_000,
}
"""Settings of every client where `[kafka.client]` has none."""

PRODUCER_DEFAULTS: Final[dict[str, Any]] = {"request.timeout.ms": 60_000}
"""The same for producers: the service may take longer to answer than a broker."""


def uses_event_hubs(client: Mapping[str, Any]) -> bool:
    """Whether the brokers of `[kafka.client]` are Event Hubs."""
    return any(host.endswith(SUFFIXES) for host in hosts(client))


def hosts(client: Mapping[str, Any]) -> list[str]:
    """The hosts of the brokers of `[kafka.client]`, in lower case."""
    return [_host(server) for server in _servers(client)]


def defaults(client: Mapping[str, Any]) -> Mapping[str, Any]:
    """`CLIENT_DEFAULTS` if the brokers are Event Hubs, else nothing."""
    return CLIENT_DEFAULTS if uses_event_hubs(client) else {}


def producer_defaults(client: Mapping[str, Any]) -> Mapping[str, Any]:
    """`PRODUCER_DEFAULTS` if the brokers are Event Hubs, else nothing."""
    return PRODUCER_DEFAULTS if uses_event_hubs(client) else {}


def find_problems(client: Mapping[str, Any]) -> list[str]:
    """Settings of `[kafka.client]` that cannot work with Event Hubs, one per line; empty for other brokers."""
    if not uses_event_hubs(client):
        return []
    protocol = str(client.get("security.protocol", "plaintext"))
    mechanism = str(client.get("sasl.mechanism", client.get("sasl.mechanisms", "GSSAPI")))
    compression = str(client.get("compression.type", client.get("compression.codec", "none")))
    problems = {
        f'bootstrap.servers: Event Hubs listens on port {PORT} ("<namespace>.servicebus.windows.net:{PORT}")': any(
            server.rpartition(":")[2] != PORT for server in _servers(client)
        ),
        'security.protocol: must be "SASL_SSL" for Event Hubs': protocol.upper() != "SASL_SSL",
        'sasl.mechanism: must be "PLAIN" or "OAUTHBEARER" for Event Hubs': (
            mechanism.upper() not in {"PLAIN", "OAUTHBEARER"}
        ),
        f'sasl.username: must be "{USER}" for Event Hubs with PLAIN; the password is the connection string': (
            mechanism.upper() == "PLAIN" and client.get("sasl.username") != USER
        ),
        'compression.type: Event Hubs takes "none" or "gzip"': compression.lower() not in {"none", "gzip"},
        f"message.max.bytes: Event Hubs takes messages of up to {MESSAGE_BYTES_MAX} bytes": (
            _number(client.get("message.max.bytes")) > MESSAGE_BYTES_MAX
        ),
    }
    return [f"client.{text}" for text, wrong in problems.items() if wrong]


def _servers(client: Mapping[str, Any]) -> list[str]:
    return [server.strip() for server in str(client.get("bootstrap.servers", "")).split(",") if server.strip()]


def _host(server: str) -> str:
    """The host of `[protocol://]host[:port]`, in lower case."""
    return server.rpartition("://")[2].partition(":")[0].lower()


def _number(value: object) -> int:
    """A number, also if it is given as text; anything else is 0, and librdkafka will refuse it."""
    text = str(value)
    return int(text) if text.isdecimal() else 0
