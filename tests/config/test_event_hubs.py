"""Azure Event Hubs as the broker: recognised by its name, given the settings it needs, refused those it cannot take."""

from __future__ import annotations

from typing import Any

import pytest

from connector.config import event_hubs, from_values
from connector.errors import ConfigError
from connector.kafka.client import ClientEvents, merge_settings

NAMESPACE = "contoso.servicebus.windows.net"
CLIENT: dict[str, Any] = {
    "bootstrap.servers": f"{NAMESPACE}:9093",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "$ConnectionString",
    "sasl.password": "Endpoint=sb://contoso.servicebus.windows.net/;SharedAccessKey=secret",
}


def refused(client: dict[str, Any]) -> str:
    """The configuration's error about a `[kafka.client]`; empty if it is taken."""
    tables = {
        "source": {"tenant_id": "contoso.example", "client_id": "app", "client_secret": "secret"},
        "kafka": {"delivery": "at_least_once", "client": client},
        "schema_registry": {"url": "http://localhost:8081"},
    }
    try:
        from_values(tables, {}, name="connector.toml")
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"compression.type": "gzip"},
        {"message.max.bytes": event_hubs.MESSAGE_BYTES_MAX},
        {"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.method": "oidc", "sasl.username": None},
        {"bootstrap.servers": "contoso.servicebus.usgovcloudapi.net:9093"},
    ],
)
def test_what_event_hubs_takes_is_taken(changed: dict[str, Any]) -> None:
    """The documented ways in, compression and sizes, also in another cloud."""
    assert refused({key: value for key, value in {**CLIENT, **changed}.items() if value is not None}) == ""


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("bootstrap.servers", f"{NAMESPACE}:9092", "listens on port 9093"),
        ("bootstrap.servers", f"SASL_SSL://{NAMESPACE.upper()}", "listens on port 9093"),
        ("security.protocol", "SASL_PLAINTEXT", 'must be "SASL_SSL"'),
        ("sasl.mechanism", "SCRAM-SHA-512", 'must be "PLAIN" or "OAUTHBEARER"'),
        ("sasl.username", "contoso", 'must be "$ConnectionString"'),
        ("compression.type", "zstd", 'takes "none" or "gzip"'),
        ("message.max.bytes", 2_000_000, "up to 1046528 bytes"),
    ],
)
def test_what_cannot_work_is_refused_with_what_is_allowed(key: str, value: str | int, text: str) -> None:
    """One line, which names the key; for other brokers the same setting is left alone."""
    client = {**CLIENT, key: value}
    (line,) = refused(client).splitlines()[1:]
    assert line.startswith(f"  kafka.client.{key}: ")
    assert text in line
    if key != "bootstrap.servers":
        assert refused({**client, "bootstrap.servers": "broker.example:9092"}) == ""


def test_clients_get_the_settings_that_event_hubs_needs_unless_configured_otherwise() -> None:
    """Keep-alive and the age of metadata are set for Event Hubs, and a user's own setting wins."""
    default, changed = (
        merge_settings(client, ClientEvents(), {}) for client in (CLIENT, {**CLIENT, "metadata.max.age.ms": 60_000})
    )
    other = merge_settings({"bootstrap.servers": f"{NAMESPACE}.example:9093"}, ClientEvents(), {})
    assert {key: default[key] for key in event_hubs.CLIENT_DEFAULTS} == event_hubs.CLIENT_DEFAULTS
    assert changed["metadata.max.age.ms"] == 60_000
    assert event_hubs.CLIENT_DEFAULTS.keys() & other.keys() == set()
