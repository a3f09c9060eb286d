"""`kafka.auth`: what follows from the brokers' names, and what cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from connector.errors import ConfigError
from tests.support.configured import config_of

MSK = "b-1.soc.a1b2c3.c2.kafka.eu-central-1.amazonaws.com:9098,b-2.soc.a1b2c3.c2.kafka.eu-central-1.amazonaws.com:9098"
HUBS = "contoso.servicebus.windows.net:9093"


def refused(servers: str, client: dict[str, Any] | None = None, **kafka: Any) -> list[str]:
    """The problems of a configuration, without its name."""
    with pytest.raises(ConfigError) as caught:
        config_of(kafka={**kafka, "client": {"bootstrap.servers": servers, **(client or {})}})
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


@pytest.mark.parametrize(
    ("servers", "region"),
    [
        (MSK, "eu-central-1"),
        ("boot-x.c1.kafka-serverless.us-east-1.amazonaws.com:9098", "us-east-1"),
        ("b-1.soc.a1.c2.kafka.cn-north-1.amazonaws.com.cn:9098", "cn-north-1"),
    ],
)
def test_the_region_is_that_of_the_brokers(servers: str, region: str) -> None:
    """Or the one that is given."""
    client = {"bootstrap.servers": servers}
    assert config_of(kafka={"auth": "aws_msk_iam", "client": client}).kafka.region == region
    given = config_of(kafka={"auth": "aws_msk_iam", "auth_region": "eu-west-1", "client": client})
    assert given.kafka.region == "eu-west-1"


def test_a_region_that_nobody_names_is_asked_for() -> None:
    """Behind a name of one's own, or a private link."""
    assert refused("kafka.corp.example:9098", auth="aws_msk_iam") == [
        "kafka.auth_region: is needed, as client.bootstrap.servers names no region of Amazon MSK"
    ]


@pytest.mark.parametrize("auth", ["managed_identity", "workload_identity"])
def test_the_scope_is_that_of_the_event_hubs(auth: str) -> None:
    """The namespace; other brokers need one to be given."""
    kafka = {"auth": auth, "auth_client_id": "app", "client": {"bootstrap.servers": HUBS}}
    identity = config_of(kafka=kafka).broker_identity
    assert (identity.auth, identity.client_id, identity.scope) == (
        auth, "app", "https://contoso.servicebus.windows.net/.default",
    )  # fmt: skip
    assert identity.tenant_id == "contoso.example"
    other = config_of(kafka=kafka | {"auth_tenant_id": "soc.example", "auth_scope": "api://kafka/.default"})
    assert (other.broker_identity.tenant_id, other.broker_identity.scope) == ("soc.example", "api://kafka/.default")
    assert refused("localhost:9093", auth=auth, auth_client_id="app") == [
        "kafka.auth_scope: must be a URL that ends in /.default; it is needed for brokers that are no Event Hubs"
    ]


def test_the_identity_is_that_of_the_source_where_that_is_of_the_same_kind() -> None:
    """An app registration is no managed identity: that of the machine is taken then."""
    hubs = {"client": {"bootstrap.servers": HUBS}}
    same = config_of(source={"auth": "workload_identity"}, kafka={"auth": "workload_identity", **hubs})
    assert same.broker_identity.client_id == "app"
    assert config_of(kafka={"auth": "managed_identity", **hubs}).broker_identity.client_id == ""
    assert refused(HUBS, auth="workload_identity") == [
        "kafka.auth_client_id: is needed where kafka.auth is workload_identity"
    ]


def test_what_the_login_sets_is_refused_beside_it() -> None:
    """Two logins would be one too many; a token goes over TLS only."""
    client = {"sasl.mechanism": "PLAIN", "sasl.password": "secret", "security.protocol": "SASL_PLAINTEXT"}
    lines = refused(MSK, client, auth="aws_msk_iam")
    assert lines == [
        "kafka.client.sasl.mechanism: set by the connector where kafka.auth is aws_msk_iam, remove it here",
        "kafka.client.sasl.password: set by the connector where kafka.auth is aws_msk_iam, remove it here",
        'kafka.client.security.protocol: must be "SASL_SSL" where kafka.auth is aws_msk_iam',
    ]


def test_what_event_hubs_cannot_do_is_refused_with_tokens_too() -> None:
    """The port, and the compression."""
    lines = refused(HUBS.replace("9093", "9092"), {"compression.type": "zstd"}, auth="managed_identity")
    assert [line.partition(":")[0] for line in lines] == [
        "kafka.client.bootstrap.servers",
        "kafka.client.compression.type",
    ]
