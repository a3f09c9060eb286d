from __future__ import annotations

import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.clock import Backoff
from connector.config.tables import SourceConfig
from connector.errors import ConfigError, ConnectorError, SourceDenied, SourceMalformed, SourceUnavailable, Stopped
from connector.simulator import Endpoint, Fault, FaultKind, Fleet, Simulator, federated_token
from connector.source.http.tokens import (
    FEDERATED_VARIABLE,
    VALID_SECONDS_MAX,
    Claims,
    Tokens,
    certificate_end,
    claims_of,
    describe_end,
    ends_soon,
    explain_denial,
    read_certificate,
)
from connector.source.http.transport import Transport
from tests.support.certificates import certificate_of, pem_of, pfx_of
from tests.support.configured import config_of
from tests.support.fetching import START
from tests.support.raw_server import RawServer

SCOPE = "https://api.securitycenter.microsoft.com/.default"
RESOURCE = "https://api.securitycenter.microsoft.com"
PASSWORD = "open-sesame-4711"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """An RSA key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@contextmanager
def tokens_at(
    simulator: Simulator,
    *,
    prompt: Callable[[str], None] = print,
    environ: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
    **settings: Any,
) -> Iterator[Tokens]:
    """Tokens from a running simulator."""
    config = SourceConfig(**simulator.settings(**settings))
    with Transport(ca_bundle=config.ca_bundle, stop=stop) as transport:
        yield Tokens(
            config,
            transport,
            prompt=prompt,
            environ=environ or {},
            backoff=Backoff(attempts_max=3, first_seconds=0.01),
        )


def token_at(simulator: Simulator, **settings: Any) -> str:
    """One token from a running simulator."""
    with tokens_at(simulator, **settings) as tokens:
        return tokens.token()


def fleet() -> Fleet:
    """As small a fleet as there is."""
    return Fleet(seed=1, devices=1, start=START)


def logins(simulator: Simulator) -> int:
    """Tokens asked for so far."""
    return sum(request.endpoint is Endpoint.TOKEN for request in simulator.requests)


def is_good(simulator: Simulator, token: str) -> bool:
    """Whether the simulator's API would take it."""
    return simulator.tokens.refusal(f"Bearer {token}", frozenset({RESOURCE})) is None


# ---- the five ways


def test_a_client_secret_gives_a_token_that_is_kept_until_it_is_renewed() -> None:
    """The same token while it is good; another one when it is asked for."""
    with Simulator(fleet()) as simulator, tokens_at(simulator) as tokens:
        first = tokens.token()
        assert is_good(simulator, first)
        assert (tokens.token(), logins(simulator)) == (first, 1)
        renewed = tokens.token(renew=True)
        assert is_good(simulator, renewed)
        assert (tokens.token(), logins(simulator)) == (renewed, 2)


@pytest.mark.parametrize("packed", ["pem", "pem with a password", "pfx", "pfx with a password"])
def test_a_certificate_gives_a_token_by_its_sha_256_thumbprint(
    tmp_path: Path, key: rsa.RSAPrivateKey, packed: str
) -> None:
    """PFX or PEM, with a password or without: the assertion names the certificate's SHA-256."""
    certificate = certificate_of(key)
    password = PASSWORD if "password" in packed else None
    content = (pfx_of if packed.startswith("pfx") else pem_of)(key, certificate, password=password)
    (tmp_path / "certificate").write_bytes(content)
    settings: dict[str, Any] = {
        "auth": "certificate",
        "client_secret": None,
        "certificate_path": tmp_path / "certificate",
        "certificate_password": password,
    }
    thumbprint = certificate.fingerprint(hashes.SHA256()).hex()
    with Simulator(fleet(), client_secret=None, certificate_thumbprint=thumbprint) as simulator:
        assert is_good(simulator, token_at(simulator, **settings))
    with Simulator(fleet(), client_secret=None, certificate_thumbprint="00" * 32) as simulator:
        with pytest.raises(SourceDenied) as caught:
            token_at(simulator, **settings)
        assert "upload" in caught.value.hint


@pytest.mark.parametrize("given", ["the configuration", "the environment"])
def test_a_workload_identity_reads_the_platforms_token_anew_each_time(tmp_path: Path, given: str) -> None:
    """The file that the platform replaces is read when it is needed, and only then."""
    file = tmp_path / "federated"
    file.write_text("\ufeff" + federated_token() + "\n", encoding="utf-8")
    settings: dict[str, Any] = {"auth": "workload_identity", "client_secret": None}
    environ = {}
    if given == "the environment":
        environ = {FEDERATED_VARIABLE: str(file)}
    else:
        settings["federated_token_file"] = file
    with (
        Simulator(fleet(), client_secret=None) as simulator,
        tokens_at(simulator, environ=environ, **settings) as tokens,
    ):
        first = tokens.token()
        assert is_good(simulator, first)
        file.write_text(federated_token(seconds=-3600))
        assert tokens.token() == first
        with pytest.raises(SourceDenied):
            tokens.token(renew=True)
        file.write_text(federated_token())
        assert is_good(simulator, tokens.token(renew=True))


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_platforms_token_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Missing or no text: the error names the key and the file."""
    file = tmp_path / "federated"
    if content:
        file.write_bytes(content)
    with Simulator(fleet()) as simulator:
        with pytest.raises(ConfigError, match=r"federated_token_file.*federated"):
            token_at(simulator, auth="workload_identity", federated_token_file=file)
        with pytest.raises(ConfigError, match="needed"):
            token_at(simulator, auth="workload_identity")


@pytest.mark.parametrize("client_id", ["", "a-user-assigned-identity"])
def test_a_managed_identity_gives_a_token_for_the_resource(monkeypatch: pytest.MonkeyPatch, client_id: str) -> None:
    """The resource is the scope without its ending; system-assigned without a client id, else user-assigned."""
    with Simulator(fleet()) as simulator:
        for name, value in simulator.managed_identity_environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HTTPS_PROXY", "http://localhost:1")
        with tokens_at(simulator, auth="managed_identity", client_id=client_id, client_secret=None) as tokens:
            first = tokens.token()
            assert is_good(simulator, first)
            assert claims_of(first).audience == RESOURCE
            assert (tokens.token(), logins(simulator)) == (first, 1)
            assert is_good(simulator, tokens.token(renew=True))
            assert logins(simulator) == 2


def test_a_machine_without_a_managed_identity_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What answers is no identity endpoint."""
    with Simulator(fleet()) as simulator:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{simulator.api_url}/nothing")
        monkeypatch.setenv("IDENTITY_HEADER", "x")
        with tokens_at(simulator, auth="managed_identity") as tokens, pytest.raises(SourceDenied):
            tokens.token()


def test_a_key_file_of_azure_arc_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent asks for the content of a file: the error has its path and the reason, and no traceback follows."""

    def challenge(connection: socket.socket, _: bytes) -> None:
        connection.recv(65536)
        connection.sendall(
            b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=/x/agent.key\r\nContent-Length: 0\r\n\r\n"
        )

    with RawServer(challenge, tmp_path, tls=False) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", server.url.replace("https:", "http:"))
        monkeypatch.setenv("IMDS_ENDPOINT", "http://localhost")
        config = config_of(source={"auth": "managed_identity", "client_secret": None}).source
        with (
            Transport() as transport,
            pytest.raises(SourceUnavailable, match=r"Azure Arc: cannot read /var/.*agent.key: No such file"),
        ):
            Tokens(config, transport, backoff=Backoff(attempts_max=1)).token()


@contextmanager
def device_tokens(
    simulator: Simulator, prompt: Callable[[str], None], stop: threading.Event | None = None
) -> Iterator[Tokens]:
    """Tokens of a person."""
    with tokens_at(simulator, prompt=prompt, stop=stop, auth="device_code", client_secret=None) as tokens:
        yield tokens


def test_a_person_signs_in_elsewhere_once() -> None:
    """The message is shown once, and the token is kept; a new one needs the person where no refresh token came."""
    said: list[str] = []
    with Simulator(fleet(), device_code_polls=0) as simulator, device_tokens(simulator, said.append) as tokens:
        first = tokens.token()
        assert claims_of(first).scopes
        assert (tokens.token(), logins(simulator), len(said)) == (first, 1, 1)
        assert is_good(simulator, tokens.token(renew=True))
        assert (logins(simulator), len(said)) == (2, 2)


def test_a_stop_ends_the_wait_for_a_person() -> None:
    """Nobody has to wait until the code expires, which this test would not survive."""
    stop = threading.Event()
    with (
        Simulator(fleet(), device_code_polls=1000) as simulator,
        device_tokens(simulator, lambda _: stop.set(), stop) as tokens,
        pytest.raises(Stopped),
    ):
        tokens.token()


# ---- refusals and failures


def test_a_wrong_secret_is_denied_with_what_to_do() -> None:
    """The service's own words, a hint, exit code 5, and no secret."""
    with Simulator(fleet()) as simulator, pytest.raises(SourceDenied, match="invalid_client: AADSTS7000215") as caught:
        token_at(simulator, client_secret="wrong-secret-canary")
    assert "secret's value" in caught.value.hint
    assert caught.value.exit_code == 5
    assert "wrong-secret-canary" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"client_id": "somebody-else"}, "source.client_id"),
        ({"tenant_id": "another-tenant.example"}, "source.tenant_id"),
        ({"scope": "https://elsewhere.example/.default"}, ""),
    ],
)
def test_a_wrong_client_or_tenant_is_denied_with_what_to_do(settings: dict[str, Any], hint: str) -> None:
    """The key to look at is in the hint."""
    with Simulator(fleet()) as simulator, tokens_at(simulator, **settings) as tokens:
        if not hint:
            assert not is_good(simulator, tokens.token())
            return
        with pytest.raises(SourceDenied) as caught:
            tokens.token()
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Endpoint.TOKEN, FaultKind.STATUS, status=500, times=2),
        Fault(Endpoint.TOKEN, FaultKind.STATUS, status=503, times=2),
        Fault(Endpoint.TOKEN, FaultKind.STATUS, status=503, times=2, text="x" * 2**21),
        Fault(Endpoint.TOKEN, FaultKind.STATUS, status=429, times=2, retry_after="3600"),
        Fault(Endpoint.TOKEN, FaultKind.CONNECTION_RESET, times=2),
        Fault(Endpoint.TOKEN, FaultKind.TRUNCATED_BODY, times=2),
        Fault(Endpoint.TOKEN, FaultKind.RESET_IN_BODY, times=2),
    ],
)
def test_a_login_service_in_trouble_is_asked_again_a_few_times(fault: Fault) -> None:
    """Twice in trouble, then a token; always in trouble, and it is unavailable, not a denial."""
    with Simulator(fleet()) as simulator:
        with tokens_at(simulator) as tokens:
            simulator.faults.add(fault)
            assert is_good(simulator, tokens.token())
        with tokens_at(simulator) as tokens:
            simulator.faults.add(replace(fault, times=None, retry_after=None))
            with pytest.raises(SourceUnavailable):
                tokens.token()


@pytest.mark.parametrize(
    "kind", [FaultKind.HTML_PAGE, FaultKind.EMPTY_BODY, FaultKind.REDIRECT, FaultKind.ENDLESS_BODY]
)
def test_an_answer_that_is_no_answer_of_a_login_service_is_no_token(kind: FaultKind) -> None:
    """A captive portal, an empty body, a redirect, a body without end: one of our errors, whatever it is."""
    with Simulator(fleet()) as simulator, tokens_at(simulator) as tokens:
        simulator.faults.add(Fault(Endpoint.TOKEN, kind, times=None))
        with pytest.raises(ConnectorError) as caught:
            tokens.token()
        assert caught.value.hint


TOKEN = {"access_token": "e30.e30.x", "expires_in": 3600, "token_type": "Bearer"}


def discovery_of(root: str) -> dict[str, Any]:
    """What msal needs of an authority's description."""
    tenant = f"{root}/tenant"
    return {
        "issuer": f"{tenant}/v2.0",
        "authorization_endpoint": f"{tenant}/authorize",
        "token_endpoint": f"{tenant}/token",
        "device_authorization_endpoint": f"{tenant}/devicecode",
    }


@contextmanager
def tokens_of(folder: Path, discovery: object, token: object, **settings: Any) -> Iterator[Tokens]:
    """Tokens from a login service that describes itself and answers as given."""

    def serve(connection: socket.socket, head: bytes) -> None:
        document = (discovery or discovery_of(server.url)) if head.startswith(b"GET") else token
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        connection.shutdown(socket.SHUT_WR)

    with Simulator(fleet()) as simulator, RawServer(serve, folder) as server:
        given = {"authority": server.url, "ca_bundle": str(server.ca_bundle), **settings}
        with tokens_at(simulator, **given) as tokens:
            yield tokens


ODD: list[object] = [
    [],
    ["access_token"],
    "text",
    7,
    True,
    b"null",
    b"NaN",
    b"",
    b"{",
    b"<html></html>",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b"9" * 5_000,
    {},
]


@pytest.mark.parametrize("answer", ODD, ids=lambda answer: repr(answer)[:20])
@pytest.mark.parametrize("place", ["discovery", "token", "device code"])
def test_an_odd_answer_of_a_login_service_is_one_of_our_errors(tmp_path: Path, place: str, answer: object) -> None:
    """Whatever JSON it is, or none: a sentence and a hint, and no traceback of msal's."""
    settings = {"auth": "device_code", "client_secret": None} if place == "device code" else {}
    discovery, token = (answer or b"{}", TOKEN) if place == "discovery" else (None, answer)
    with tokens_of(tmp_path, discovery, token, **settings) as tokens:
        with pytest.raises((SourceDenied, SourceMalformed)) as caught:
            tokens.token()
        assert str(caught.value)
        assert caught.value.hint


@pytest.mark.parametrize(
    "odd",
    [
        *({"access_token": value} for value in (7, True, ["x"], {"x": "y"}, "")),
        *({"expires_in": value} for value in ("soon", [], [1], {"x": 1}, -1, -(10**400), 10**400, float("nan"))),
        *({"error": value} for value in (7, ["x"], {"x": "y"})),
        {"access_token": None, "error": 7, "error_description": ["x"]},
        {"access_token": None, "error": "invalid_client", "error_description": {"x": "y"}},
        {"scope": 7},
        {"id_token": 7},
        {"id_token": "x"},
        {"client_info": 7},
        {"refresh_token": ["x"]},
        {"refresh_in": "soon"},
    ],
    ids=repr,
)
def test_an_odd_property_of_a_token_is_one_of_our_errors_or_does_no_harm(tmp_path: Path, odd: dict[str, Any]) -> None:
    """A token that can be used, or a sentence and a hint."""
    refusal = None
    with tokens_of(tmp_path, None, TOKEN | odd) as tokens:
        try:
            token = tokens.token()
        except (SourceDenied, SourceMalformed) as error:
            refusal = error
    if refusal is None:
        assert (token, "access_token" in odd) == (TOKEN["access_token"], False)
    else:
        assert str(refusal)
        assert refusal.hint


@pytest.mark.parametrize("name", ["issuer", "authorization_endpoint", "token_endpoint"])
@pytest.mark.parametrize("value", [None, 7, "", "x", [], {"x": "y"}, "http://localhost/", "https://[/"])
def test_an_odd_property_of_the_description_is_one_of_our_errors_or_does_no_harm(
    tmp_path: Path, name: str, value: object
) -> None:
    """The description of the login service comes from outside too."""
    description = discovery_of("https://localhost:1") | {name: value}
    with tokens_of(tmp_path, description, TOKEN) as tokens:
        with pytest.raises((SourceDenied, SourceMalformed, SourceUnavailable)) as caught:
            tokens.token()
        assert str(caught.value)
        assert caught.value.hint


@pytest.mark.parametrize(("said", "renewed"), [(0, True), ("3600", False), (10**12, False)])
def test_how_long_a_token_is_valid_may_be_said_in_several_ways(tmp_path: Path, said: object, renewed: bool) -> None:
    """0 is no time; a number may be a text; a day is the most."""
    with tokens_of(tmp_path, None, TOKEN | {"expires_in": said}) as tokens:
        tokens.token()
        left = tokens._good_until - time.monotonic()
        assert (left < 0, left < VALID_SECONDS_MAX) == (renewed, True)


def test_a_login_service_that_cannot_be_reached_is_unavailable() -> None:
    """No listener: unavailable, and the host is named."""
    with Simulator(fleet()) as simulator, pytest.raises(SourceUnavailable, match="localhost"):
        token_at(simulator, authority="https://localhost:1")


def test_credentials_go_to_the_authority_only_and_never_into_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """Discovery asks nobody else about a private authority; msal's debug log holds neither secret nor token."""
    caplog.set_level(logging.DEBUG)
    with Simulator(fleet()) as simulator, tokens_at(simulator) as tokens:
        token = tokens.token()
        secret = str(simulator.client_secret)
        host = simulator.authority.removeprefix("https://")
        assert {request.host for request in simulator.requests} == {host}
        assert not any(request.has_authorization for request in simulator.requests)
    assert secret not in caplog.text
    assert token not in caplog.text


def test_nothing_about_tokens_shows_the_secret() -> None:
    """Whoever prints the object or its configuration prints no secret."""
    with Simulator(fleet(), client_secret="canary-secret-canary") as simulator, tokens_at(simulator) as tokens:
        tokens.token()
        assert "canary-secret-canary" not in repr(tokens) + repr(tokens._config) + str(vars(tokens))


def test_many_threads_share_one_token() -> None:
    """Downloads and pages ask at the same time; one request is made."""
    with Simulator(fleet()) as simulator, tokens_at(simulator) as tokens:
        obtained: list[str] = []
        threads = [threading.Thread(target=lambda: obtained.append(tokens.token())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(obtained)) == 1
        assert logins(simulator) == 1


# ---- certificates


def test_a_certificate_file_that_cannot_be_used_is_a_problem_of_the_configuration(
    tmp_path: Path, key: rsa.RSAPrivateKey
) -> None:
    """Missing, garbage, a wrong password, no key, no certificate of the key, no RSA: the key and the file are named."""
    curve = ec.generate_private_key(ec.SECP256R1())
    certificate = certificate_of(key)
    other = certificate_of(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    contents = {
        "rubbish": b"rubbish",
        "empty": b"",
        "locked.pem": pem_of(key, certificate, password="another"),
        "locked.pfx": pfx_of(key, certificate, password="another"),
        "certificate.pem": certificate.public_bytes(Encoding.PEM),
        "key.pem": pem_of(key, certificate).partition(b"-----END CERTIFICATE-----\n")[2],
        "other.pem": pem_of(key, other),
        "curve.pem": pem_of(curve, certificate_of(curve)),
        "damaged.pem": pem_of(key, certificate).replace(b"A", b"!", 3),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in [*contents, "missing"]:
        with pytest.raises(ConfigError, match=rf"certificate_path: .*{name}"):
            read_certificate(tmp_path / name, PASSWORD)


def test_an_expired_certificate_is_denied_before_it_is_shown_to_anybody(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    """The date is in the error."""
    path = tmp_path / "expired.pem"
    path.write_bytes(pem_of(key, certificate_of(key, days=-1)))
    with pytest.raises(SourceDenied, match=f"expired on {datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"):
        read_certificate(path, None)


def test_of_an_expired_and_a_renewed_certificate_of_one_key_the_valid_one_is_used(
    tmp_path: Path, key: rsa.RSAPrivateKey
) -> None:
    """Whichever stands first; `check` and `status` learn when it ends."""
    old, new, later = (certificate_of(key, days=days) for days in (-1, 5, 9))
    for number, certificates in enumerate(([old, new], [new, old], [old, new, later])):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(b"".join(item.public_bytes(Encoding.PEM) for item in certificates) + pem_of(key, old))
        best = certificates[-1] if later in certificates else new
        assert read_certificate(path, None)["public_certificate"] == best.public_bytes(Encoding.PEM).decode()
        config = config_of(source={"auth": "certificate", "client_secret": None, "certificate_path": str(path)}).source
        end = certificate_end(config)
        assert end == best.not_valid_after_utc
        assert (describe_end(end).split(", in ")[1], ends_soon(end)) == (f"{8 if best is later else 4} days", True)


# ---- claims


def token_of(claims: object) -> str:
    """A token that says so."""
    return "e30." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".x"


def test_claims_are_read_from_a_token() -> None:
    """Audience, roles, scopes, tenant, application, expiry."""
    claims = {
        "aud": RESOURCE,
        "roles": ["Software.Read.All"],
        "scp": "a b",
        "tid": "t",
        "appid": "i",
        "exp": 1_800_000_000,
    }
    assert claims_of(token_of(claims)) == Claims(
        audience=RESOURCE,
        tenant_id="t",
        application_id="i",
        roles=("Software.Read.All",),
        scopes=("a", "b"),
        expires_at=datetime(2027, 1, 15, 8, 0, tzinfo=UTC),
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text(max_size=60)
    | st.binary(max_size=60).map(lambda junk: "e30." + base64.urlsafe_b64encode(junk).decode() + ".x")
    | st.dictionaries(st.sampled_from(["aud", "roles", "scp", "tid", "appid", "exp"]), JSON).map(token_of)
    | JSON.map(token_of)
)
def test_any_text_as_a_token_gives_claims_and_an_explanation(token: str) -> None:
    """Reading claims never raises, and what they are is what they should be."""
    claims = claims_of(token)
    assert all(isinstance(role, str) for role in (*claims.roles, *claims.scopes, claims.audience))
    assert explain_denial(token, SCOPE)


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        (
            {"aud": "https://graph.microsoft.com", "roles": ["Software.Read.All"]},
            ["graph.microsoft.com", "source.scope"],
        ),
        ({"aud": RESOURCE}, ["it has: none", "Software.Read.All", "consent"]),
        ({"aud": RESOURCE + "/", "roles": ["Machine.Read.All"]}, ["Machine.Read.All", "Software.Read.All"]),
        ({"aud": RESOURCE, "scp": "Machine.Read"}, ["a user's", "Software.Read"]),
        ({"aud": RESOURCE, "roles": ["Software.Read.All"]}, ["licence", "source.api_url"]),
        ({"aud": RESOURCE, "scp": "Software.Read"}, ["licence"]),
        ({"aud": "fc780465-2017-40d4-a0c5-307022471b92", "roles": ["Software.Read.All"]}, ["licence"]),
    ],
)
def test_a_denial_is_explained_by_what_the_token_says(claims: dict[str, Any], words: list[str]) -> None:
    """The wrong audience, a missing permission, a user's token, or a token that says nothing."""
    explanation = explain_denial(token_of(claims), SCOPE)
    assert [word for word in words if word not in explanation] == []
