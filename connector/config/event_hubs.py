"""What Azure Event Hubs asks of a Kafka client: how to tell that brokers are Event Hubs, settings, what cannot work.

Owns no connection and no library. Source: Microsoft's pages on Event Hubs for Apache Kafka: recommended configurations
for Kafka clients, and the limits of the service (2025).
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
    # Connections that are idle for four minutes are closed, and not every network says so.
    "socket.keepalive.enable": True,
    "metadata.max.age.ms": 180_000,
}
"""For every client, where `[kafka.client]` says nothing."""

PRODUCER_DEFAULTS: Final[dict[str, Any]] = {"request.timeout.ms": 60_000}
"""The same for producers: the service may take longer to answer than a broker does."""


def is_meant(client: Mapping[str, Any]) -> bool:
    """Whether the brokers of `[kafka.client]` are Event Hubs."""
    return any(_host(server).endswith(SUFFIXES) for server in _servers(client))


def defaults(client: Mapping[str, Any]) -> Mapping[str, Any]:
    """`CLIENT_DEFAULTS` where the brokers are Event Hubs, else nothing."""
    return CLIENT_DEFAULTS if is_meant(client) else {}


def producer_defaults(client: Mapping[str, Any]) -> Mapping[str, Any]:
    """`PRODUCER_DEFAULTS` where the brokers are Event Hubs, else nothing."""
    return PRODUCER_DEFAULTS if is_meant(client) else {}


def problems(client: Mapping[str, Any]) -> list[str]:
    """What of `[kafka.client]` cannot work with Event Hubs, a line each; nothing where the brokers are others."""
    if not is_meant(client):
        return []
    protocol = str(client.get("security.protocol", "plaintext"))
    mechanism = str(client.get("sasl.mechanism", client.get("sasl.mechanisms", "GSSAPI")))
    compression = str(client.get("compression.type", client.get("compression.codec", "none")))
    found = {
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
    return [f"client.{text}" for text, wrong in found.items() if wrong]


def _servers(client: Mapping[str, Any]) -> list[str]:
    return [server.strip() for server in str(client.get("bootstrap.servers", "")).split(",") if server.strip()]


def _host(server: str) -> str:
    """The host of `[protocol://]host[:port]`, in lower case."""
    return server.rpartition("://")[2].partition(":")[0].lower()


def _number(value: object) -> int:
    """A number, also where it is given as text; what is none is for librdkafka to refuse."""
    text = str(value)
    return int(text) if text.isdecimal() else 0
