"""The schema registry: a real one, and a small server for answers that a real one does not give on request."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from connector.config.tables import SchemaRegistryConfig
from connector.errors import ConfigError, ConnectorError, EncodingError, RegistryUnavailable, SinkRejected
from connector.kafka import schemas
from connector.kafka.registry import Registry, value_subject
from connector.model import Topic

CHANGE = schemas.schema_of(Topic.CHANGES)
JSON_SCHEMA = '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}'
QUICK: dict[str, Any] = {"max.retries": 0, "timeout": 2}


def configured(url: str, **options: Any) -> SchemaRegistryConfig:
    """The table `[schema_registry]`."""
    return SchemaRegistryConfig(url=url, **options)


def grown(**field: Any) -> str:
    """The schema of a change with one more field."""
    schema = json.loads(CHANGE)
    schema["fields"].append({"name": "added", "doc": "Added later.", **field})
    return json.dumps(schema)


@pytest.fixture
def subject(topic_prefix: str) -> str:
    """A subject that no other test uses."""
    return value_subject(f"{topic_prefix}.changes")


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    """The real registry."""
    with Registry(configured(registry_url)) as opened:
        yield opened


# ---- a real registry


@pytest.mark.broker
def test_what_is_registered_is_found_by_its_text_and_by_its_id(
    registry: Registry, registry_url: str, subject: str
) -> None:
    """Registering, looking up in a new process, and fetching by id agree; registering again changes nothing."""
    schema_id = registry.register(subject, CHANGE).schema_id
    with Registry(configured(registry_url)) as later:
        assert later.schema_id(subject, CHANGE) == schema_id
        assert json.loads(later.schema(schema_id)) == json.loads(CHANGE)
        assert later.register(subject, CHANGE) == (schema_id, None)
    with SchemaRegistryClient({"url": registry_url}) as client:
        assert client.get_versions(subject) == [1]


@pytest.mark.broker
def test_registering_sets_full_transitive_compatibility(registry: Registry, registry_url: str, subject: str) -> None:
    """The registry itself then refuses what any version could not read."""
    registry.register(subject, CHANGE)
    with SchemaRegistryClient({"url": registry_url}) as client:
        assert client.get_compatibility(subject) == "FULL_TRANSITIVE"


@pytest.mark.broker
def test_a_compatible_version_is_added_and_an_incompatible_one_refused(registry: Registry, subject: str) -> None:
    """A field with a default may be added, one without may not: known beforehand, and an error with a hint."""
    registry.register(subject, CHANGE)
    fine, breaking = grown(type=["null", "string"], default=None), grown(type="string")
    assert registry.find_conflicts(subject, fine) == []
    assert registry.find_conflicts(subject, breaking) == [
        f"{subject}: a registered version and this connector's cannot read each other"
    ]
    assert registry.register(subject, fine).schema_id != registry.schema_id(subject, CHANGE)
    with pytest.raises(
        EncodingError, match=rf"^registering the schema of {subject}: incompatible with what"
    ) as refused:
        registry.register(subject, breaking)
    assert "update this one" in refused.value.hint


@pytest.mark.broker
def test_a_new_subject_fits_and_is_not_found(registry: Registry, subject: str) -> None:
    """There is nothing to conflict with; looking it up names the command that registers it."""
    assert registry.find_conflicts(subject, CHANGE) == []
    with pytest.raises(EncodingError, match=rf"^looking up the schema of {subject}: .*not found") as unknown:
        registry.schema_id(subject, CHANGE)
    assert "`mde-inventory setup`" in unknown.value.hint


@pytest.mark.broker
def test_another_schema_of_a_known_subject_is_not_found(registry: Registry, subject: str) -> None:
    """The version of a newer connector is no substitute for ours."""
    registry.register(subject, CHANGE)
    with pytest.raises(EncodingError, match=rf"^looking up the schema of {subject}: ") as unknown:
        registry.schema_id(subject, grown(type=["null", "string"], default=None))
    assert "`mde-inventory setup`" in unknown.value.hint


@pytest.mark.broker
def test_an_unknown_id_is_not_found(registry: Registry) -> None:
    """The error names the id."""
    with pytest.raises(EncodingError, match=r"^fetching schema 2000000000: "):
        registry.schema(2_000_000_000)


@pytest.mark.broker
def test_a_schema_that_is_not_avro_is_refused_both_ways(registry: Registry, registry_url: str, subject: str) -> None:
    """The registry does not take rubbish, and another program's JSON Schema is not passed on as Avro."""
    with pytest.raises(EncodingError, match=rf"^registering the schema of {subject}: .* HTTP 422"):
        registry.register(subject, '{"type": "nothing of the kind"}')
    with SchemaRegistryClient({"url": registry_url}) as client:
        request = {"schema": JSON_SCHEMA, "schemaType": "JSON"}
        answer = client._rest_client.post(f"subjects/{subject}-json/versions", body=request)
    with pytest.raises(EncodingError, match=rf"^schema {answer['id']} is JSON, not AVRO$"):
        registry.schema(answer["id"])


@pytest.mark.broker
def test_only_auto_register_registers_what_is_not_there(registry: Registry, registry_url: str, subject: str) -> None:
    """Off unless configured; where it is on, the first use registers the schema and its compatibility."""
    with pytest.raises(EncodingError):
        registry.schema_id(subject, CHANGE)
    with Registry(configured(registry_url, auto_register=True)) as eager:
        schema_id = eager.schema_id(subject, CHANGE)
        assert eager.schema_id(subject, CHANGE) == schema_id
    assert registry.schema_id(subject, CHANGE) == schema_id
    with SchemaRegistryClient({"url": registry_url}) as client:
        assert client.get_compatibility(subject) == "FULL_TRANSITIVE"


@pytest.mark.broker
def test_an_address_without_the_registrys_path_is_named(registry_url: str) -> None:
    """A registry answers there, but not as one: the hint says what the address must look like."""
    with (
        Registry(configured(registry_url.rpartition("/")[0], **QUICK)) as elsewhere,
        pytest.raises(EncodingError) as wrong,
    ):
        elsewhere.schema_id("subject", CHANGE)
    assert "/apis/ccompat/v7" in wrong.value.hint


def test_the_subject_of_a_topic_is_its_name_and_value() -> None:
    """TopicNameStrategy, whatever the client's default becomes."""
    assert value_subject("mde.software.changes") == "mde.software.changes-value"


# ---- answers that a real one does not give on request


@contextmanager
def server(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server with one answer to everything: its address, and the requests in order."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.append(f"{self.command} {self.path}")
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - the names that the library calls

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", requests
        finally:
            listening.shutdown()
            thread.join()


CALLS: dict[str, Callable[[Registry], object]] = {
    "schema_id": lambda registry: registry.schema_id("s-value", CHANGE),
    "schema": lambda registry: registry.schema(1),
    "register": lambda registry: registry.register("s-value", CHANGE),
    "find_conflicts": lambda registry: registry.find_conflicts("s-value", CHANGE),
}


@pytest.mark.parametrize("call", list(CALLS))
@pytest.mark.parametrize(
    ("status", "body", "error", "text", "hint"),
    [
        (401, b"", SinkRejected, "denies access (HTTP 401)", "basic.auth.user.info"),
        (403, b'{"error_code": 40301}', SinkRejected, "denies access (HTTP 403)", "what the registry grants"),
        (407, b"proxy", SinkRejected, "denies access (HTTP 407)", "basic.auth.user.info"),
        (408, b"{}", RegistryUnavailable, "fails (HTTP 408)", "published later"),
        (429, b'{"message": "slower"}', RegistryUnavailable, "fails (HTTP 429): slower", "published later"),
        (500, b'{"message": "store"}', RegistryUnavailable, "fails (HTTP 500): store", "published later"),
        (503, b"<html>", RegistryUnavailable, "fails (HTTP 503)", "published later"),
        (404, b"<html>not here</html>", EncodingError, "answers HTTP 404", "/apis/ccompat/v7"),
        (302, b"", EncodingError, "answers HTTP 302", "/apis/ccompat/v7"),
        (422, b'{"error_code": 42201, "message": "bad"}', EncodingError, "answers HTTP 422: bad", "/apis/ccompat/v7"),
        (200, b"<html>welcome</html>", EncodingError, "does not answer as a registry", "/apis/ccompat/v7"),
        (200, b"\xff\xfe", EncodingError, "does not answer as a registry", "/apis/ccompat/v7"),
    ],
)  # fmt: skip
def test_every_answer_becomes_one_of_our_errors(
    call: str, status: int, body: bytes, error: type[ConnectorError], text: str, hint: str
) -> None:
    """By status: denied, temporary, or not a registry; with what was being done, and what to do about it."""
    with server(status, body) as (url, _), Registry(configured(url, **QUICK)) as registry:
        with pytest.raises(error) as raised:
            CALLS[call](registry)
        assert type(raised.value) is error
        assert text in str(raised.value)
        assert hint in raised.value.hint


@pytest.mark.parametrize(
    "body", [b"null", b"[]", b"{}", b'"text"', b'{"id": -1}', b'{"id": 4294967296}', b'{"id": "1"}']
)
def test_json_of_another_shape_is_no_answer(body: bytes) -> None:
    """No id, or one that four bytes cannot carry, is not taken for one."""
    with server(200, body) as (url, _), Registry(configured(url, **QUICK)) as registry, pytest.raises(EncodingError):
        registry.schema_id("s-value", CHANGE)


def test_a_passing_failure_is_tried_again_within_a_limit() -> None:
    """By default three requests, and then an outage."""
    with server(503, b"{}") as (url, requests), Registry(configured(url)) as registry:
        with pytest.raises(RegistryUnavailable):
            registry.schema(1)
        assert requests == ["GET /schemas/ids/1"] * 3


def test_a_redirect_is_not_followed() -> None:
    """Credentials go to the configured address only."""
    with server(200, b"{}") as (other, strangers):
        redirect = server(307, b"", {"Location": f"{other}/schemas/ids/1"})
        options = {"basic.auth.user.info": "user:canary-password"}
        with redirect as (url, _), Registry(configured(url, **QUICK, **options)) as registry:
            with pytest.raises(EncodingError) as raised:
                registry.schema(1)
            assert "canary-password" not in f"{raised.value!r}{raised.value.hint}{registry!r}{vars(registry)}"
        assert strangers == []


def test_nobody_at_the_address_is_an_outage() -> None:
    """Refused, unknown host, no TLS there: retryable, with the address and the reason."""
    with socket.socket() as closed, server(200, b"{}") as (plain, _):
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        for url in (f"http://127.0.0.1:{port}", "http://registry.invalid", plain.replace("http:", "https:")):
            with Registry(configured(url, **QUICK)) as registry, pytest.raises(RegistryUnavailable) as raised:
                registry.schema(1)
            assert str(raised.value).startswith(
                f"fetching schema 1: the schema registry at {url} cannot be reached: ConnectError: "
            )
            assert raised.value.retryable


def test_a_registry_that_never_answers_is_given_up_in_time() -> None:
    """It accepts the connection and is silent: the configured time-out holds, text from the environment too."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        options: dict[str, Any] = {"timeout": "0.3", "max.retries": "1", "retries.wait.ms": "10"}
        with Registry(configured(url, **options)) as registry, pytest.raises(RegistryUnavailable, match=r"ReadTimeout"):
            registry.schema(1)
        assert time.monotonic() - begun > 0.5


def test_the_time_outs_have_limits_where_none_is_configured() -> None:
    """The client's own default would be to wait forever."""
    with Registry(configured("http://127.0.0.1:9")) as registry:
        client = registry._client._rest_client
        assert (client.timeout, client.max_retries, client.retries_max_wait_ms) == (10, 2, 2000)


def test_the_second_address_is_asked_where_the_first_is_away() -> None:
    """Several addresses, separated by commas, as the client takes them."""
    with socket.socket() as closed, server(200, b'{"schema": "\\"string\\""}') as (url, _):
        closed.bind(("127.0.0.1", 0))
        both = f"http://127.0.0.1:{closed.getsockname()[1]},{url}"
        with Registry(configured(both, **QUICK)) as registry:
            assert registry.schema(1) == '"string"'


# ---- configuration


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"no.such.key": "x"}, "Unrecognized properties: no.such.key"),
        ({"timeout": "soon"}, "could not convert string to float"),
        ({"basic.auth.user.info": "canary-without-colon"}, "basic.auth.user.info must be in the form"),
        ({"ssl.key.location": "key.pem"}, "ssl.certificate.location required"),
        ({"ssl.ca.location": "/does/not/exist.pem"}, "No such file"),
        ({"ssl.ca.location": False}, "must be the path of a file or folder"),
    ],
)
def test_options_that_the_client_does_not_take_are_configuration_errors(options: dict[str, Any], text: str) -> None:
    """Unknown keys, files that are missing, TLS switched off: named at once, without the secret."""
    with pytest.raises(ConfigError) as refused:
        Registry(configured("https://127.0.0.1:9", **options))
    assert text in str(refused.value)
    assert "canary" not in str(refused.value)


def test_a_certificate_of_our_own_authority_is_believed_and_no_other(tmp_path: Path) -> None:
    """`ssl.ca.location` is what verifies; without it the server is an outage, never an unverified connection."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with tls_server(context, b'{"schema": "\\"string\\""}') as url:
        with Registry(configured(url, **QUICK, **{"ssl.ca.location": str(tmp_path / "ca.pem")})) as trusting:
            assert trusting.schema(1) == '"string"'
        with (
            Registry(configured(url, **QUICK)) as careful,
            pytest.raises(RegistryUnavailable, match=r"CERTIFICATE_VERIFY"),
        ):
            careful.schema(1)


@contextmanager
def tls_server(context: ssl.SSLContext, body: bytes) -> Iterator[str]:
    """An HTTPS server with one answer, for two connections, of which one may fail."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()

    def serve() -> None:
        for _ in range(2):
            accepted, _address = listening.accept()
            try:
                with context.wrap_socket(accepted, server_side=True) as connection:
                    connection.recv(65_536)
                    connection.sendall(head + body)
            except ssl.SSLError:
                accepted.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(10)


@pytest.mark.parametrize("url", ["https://user:canary@registry:8081", "http://fine,http://user@registry"])
def test_an_address_with_a_user_name_is_refused(url: str) -> None:
    """The address is shown in errors and logs: credentials have their own keys."""
    with pytest.raises(ValueError, match=r"give basic\.auth\.user\.info instead") as refused:
        configured(url)
    assert "canary" not in str(refused.value)


# ---- without a registry


def test_a_mock_is_shared_by_all_who_name_it_and_by_nobody_else() -> None:
    """The demo's registry: ids are the same everywhere in the process."""
    name = f"mock://{uuid.uuid4()}"
    with Registry(configured(name)) as first, Registry(configured(name)) as second:
        first_id = first.register("a-value", '"string"').schema_id
        second_id = second.register("b-value", CHANGE).schema_id
        assert first_id != second_id
        assert (second.schema_id("a-value", '"string"'), second.schema(first_id)) == (first_id, '"string"')
        assert first.schema_id("b-value", CHANGE) == second_id
        assert first.find_conflicts("b-value", '"int"') == []
    with Registry(configured(f"mock://{uuid.uuid4()}")) as other, pytest.raises(EncodingError):
        other.schema_id("a-value", '"string"')


def test_a_mock_registers_on_demand() -> None:
    """`auto_register` works there too."""
    with Registry(configured(f"mock://{uuid.uuid4()}", auto_register=True)) as registry:
        assert registry.schema_id("a-value", CHANGE) == registry.schema_id("a-value", CHANGE) == 1


def test_a_socks_proxy_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry's client opens it even where NO_PROXY has the host."""
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example:1080")
    monkeypatch.setenv("NO_PROXY", "registry.example")
    with pytest.raises(ConfigError, match="SOCKS proxy") as caught:
        Registry(SchemaRegistryConfig(url="http://registry.example"))
    assert "NO_PROXY=*" in caught.value.hint
