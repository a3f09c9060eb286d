"""Brokers that take tokens: a real one over TLS, and a token endpoint over HTTPS; topics, producer and consumer."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from connector import config
from connector.assembly import Assembly
from connector.errors import ConnectorError, SinkRejected, SinkUnavailable
from connector.model import Topic
from connector.operations.check import check_kafka
from connector.operations.setup import set_up
from tests.support.broker import LocalBroker
from tests.support.records import CHANGE, CHECKPOINT, TENANT
from tests.support.token_broker import TokenBroker, TokenEndpoint

pytestmark = pytest.mark.broker

SCOPE = "https://contoso.servicebus.windows.net/.default"
SHORT_SECONDS = 6.0
"""How long a token is valid that is to be renewed within the test; the broker asks for a new one every four."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Signs the certificates of broker and endpoint."""
    return trustme.CA()


@pytest.fixture(scope="module")
def brokers() -> Iterator[list[TokenBroker]]:
    """Where the one broker of this module is kept, once it is started."""
    started: list[TokenBroker] = []
    yield started
    for broker in started:
        broker.close()


@pytest.fixture
def token_broker(
    local_broker: LocalBroker,  # noqa: ARG001 - without one there is none of this kind either
    brokers: list[TokenBroker],
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
) -> TokenBroker:
    """A broker that takes tokens, where a local one can be had at all."""
    if not brokers:
        brokers.append(TokenBroker(tmp_path_factory.mktemp("token-kafka"), authority))
    return brokers[0]


@pytest.fixture
def endpoint(authority: trustme.CA) -> Iterator[TokenEndpoint]:
    """Entra ID, as far as it gives tokens."""
    with TokenEndpoint.serving(authority) as endpoint:
        yield endpoint


@pytest.fixture
def connect(
    tmp_path: Path, token_broker: TokenBroker, endpoint: TokenEndpoint, authority: trustme.CA
) -> Callable[..., Assembly]:
    """`connect(auth="…")`: a connector that logs in to the broker with tokens of the endpoint."""
    bundle, federated = tmp_path / "ca.pem", tmp_path / "federated"
    authority.cert_pem.write_to_path(str(bundle))
    federated.write_text("of.the.platform", encoding="utf-8")
    prefix = f"tokens.{uuid.uuid4().hex[:12]}"

    def make(**kafka: Any) -> Assembly:
        tables = {
            "source": {
                "tenant_id": TENANT,
                "client_id": "for-the-api",
                "client_secret": "secret",
                "authority": endpoint.url,
                "ca_bundle": str(bundle),
                "federated_token_file": str(federated),
            },
            "state": {"path": str(tmp_path / "state.duckdb")},
            "kafka": {
                "topic_prefix": prefix,
                "value_format": "json",
                "auth": "workload_identity",
                "auth_client_id": "for-the-brokers",
                "auth_scope": SCOPE,
                "client": {"bootstrap.servers": token_broker.token_servers, "ssl.ca.location": str(bundle)},
                **kafka,
            },
        }
        return Assembly(config.from_values(tables, {}, name="test"))

    return make


def publish(assembly: Assembly, sequence: int) -> None:
    """One change and its checkpoint."""
    message = assembly.messages.encode_change(CHANGE | {"sequence": sequence})
    checkpoint = replace(CHECKPOINT, transactional_id=assembly.config.transactional_id, sequence=sequence)
    assembly.sink.publish([message], checkpoint)


def test_a_workload_identity_logs_in_everywhere_and_its_tokens_are_renewed(
    connect: Callable[..., Assembly], endpoint: TokenEndpoint
) -> None:
    """Topics are created and checked, changes published and read, over several lives of a token."""
    endpoint.seconds = SHORT_SECONDS
    with connect() as assembly:
        assert [check.text for check in set_up(assembly) if not check.fine] == []
        assert assembly.sink.recover() is None
        asked = len(endpoint.requests)
        ends = time.monotonic() + 3 * SHORT_SECONDS
        for sequence in range(1, 10**6):
            publish(assembly, sequence)
            if time.monotonic() > ends:
                break
            time.sleep(0.5)
        assert len(endpoint.requests) > asked
        last = assembly.sink.recover()
        assert last is not None
        assert last.sequence == sequence
        name = assembly.topic(Topic.CHANGES)
        read = list(assembly.reader().follow(name, from_beginning=True, limit=sequence))
        assert len(read) == sequence
        # A topic that was just created is not known everywhere at once; by now it is.
        assert [check.text for check in check_kafka(assembly) if not check.fine] == []
    forms = {(form["client_id"], form["scope"], form["client_assertion"]) for form in endpoint.requests}
    assert forms == {("for-the-brokers", SCOPE, "of.the.platform")}


def test_a_managed_identity_logs_in(
    connect: Callable[..., Assembly], endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform's endpoint is asked for the brokers' resource."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{endpoint.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "platform")
    with connect(auth="managed_identity", auth_client_id="") as assembly:
        assert [check.text for check in set_up(assembly) if not check.fine] == []
        assert assembly.sink.recover() is None
        publish(assembly, 1)
    assert {form["resource"] for form in endpoint.requests} == {SCOPE.removesuffix("/.default")}


def test_a_refused_token_is_named(connect: Callable[..., Assembly], endpoint: TokenEndpoint) -> None:
    """At once, with what the login service says, and not as a time-out of Kafka."""
    endpoint.refusing = {"error": "invalid_client", "error_description": "AADSTS700213: No matching identity."}
    with connect() as assembly, pytest.raises(SinkRejected, match="AADSTS700213") as refused:
        assembly.sink.recover()
    assert "kafka.auth_client_id" in refused.value.hint
    endpoint.refusing = None


def test_a_broker_that_refuses_the_token_is_named(connect: Callable[..., Assembly], endpoint: TokenEndpoint) -> None:
    """The endpoint gives one that has expired already."""
    endpoint.seconds = -60
    with connect() as assembly, pytest.raises(ConnectorError):
        assembly.sink.recover()


def test_an_endpoint_that_is_away_is_an_outage(connect: Callable[..., Assembly]) -> None:
    """What is staged waits: worth retrying."""
    with connect(auth_tenant_id="contoso.example") as assembly, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"https://127.0.0.1:{closed.getsockname()[1]}"
        source = assembly.config.source.model_copy(update={"authority": away})
        moved = Assembly(assembly.config.model_copy(update={"source": source}))
        with moved, pytest.raises(SinkUnavailable, match="no token for the brokers"):
            moved.sink.recover()
