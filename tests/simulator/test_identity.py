from __future__ import annotations

import base64
import hashlib
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msal
import pytest
import trustme

from connector.simulator import Fleet, Simulator, federated_token
from tests.support.plain_client import LISTINGS, SCOPE, PlainClient

START = datetime(2026, 1, 1, tzinfo=UTC)
RESOURCE = "https://api.securitycenter.microsoft.com"
LISTING = next(iter(LISTINGS.values()))


def fleet() -> Fleet:
    """As small a fleet as there is."""
    return Fleet(seed=1, devices=5, start=START)


@pytest.fixture
def client() -> Iterator[PlainClient]:
    """A client of a simulator with a client secret."""
    with Simulator(fleet()) as simulator, PlainClient(simulator) as client:
        yield client


def application(client: PlainClient, credential: Any, **others: Any) -> msal.ConfidentialClientApplication:
    """A confidential client of the real MSAL."""
    simulator = client.simulator
    known = {"authority": f"{simulator.authority}/{simulator.tenant_id}", "instance_discovery": False}
    return msal.ConfidentialClientApplication(
        simulator.client_id, client_credential=credential, http_client=client.session, **(others or known)
    )


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a JWT."""
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def lets_in(client: PlainClient, result: dict[str, Any]) -> bool:
    """Whether the API takes the token of an MSAL result."""
    assert "access_token" in result, result
    return client.get(LISTING, token=result["access_token"]).status_code == 200


def test_msal_gets_a_token_with_a_client_secret(client: PlainClient) -> None:
    """The token names audience, roles, tenant and expiry as Entra ID's do, and the API takes it."""
    result = application(client, client.simulator.client_secret).acquire_token_for_client([SCOPE])
    claims = claims_of(result["access_token"])
    assert lets_in(client, result)
    assert (claims["aud"], claims["roles"], claims["tid"]) == (
        RESOURCE,
        ["Software.Read.All"],
        client.simulator.tenant_id,
    )
    assert claims["exp"] - claims["iat"] == result["expires_in"] == 3599


def test_msal_finds_the_token_endpoint_through_the_discovery_document(client: PlainClient) -> None:
    """Given an OpenID Connect authority, MSAL reads its discovery document and believes its issuer."""
    authority = f"{client.simulator.authority}/{client.simulator.tenant_id}/v2.0"
    msal_client = application(client, client.simulator.client_secret, oidc_authority=authority)
    assert lets_in(client, msal_client.acquire_token_for_client([SCOPE]))


def test_a_wrong_secret_client_or_tenant_is_refused_as_entra_does(client: PlainClient) -> None:
    """Error, number and description are those that MSAL's users see."""
    wrong = application(client, "not the secret").acquire_token_for_client([SCOPE])
    assert (wrong["error"], wrong["error_codes"]) == ("invalid_client", [7000215])
    stranger = client.ask_token(client_id="00000000-0000-0000-0000-000000000000")
    assert (stranger.status_code, stranger.json()["error"]) == (400, "unauthorized_client")
    with pytest.raises(ValueError, match="authority configuration"):
        application(client, "x", authority=f"{client.simulator.authority}/another-tenant", instance_discovery=False)
    no_scope = client.ask_token(scope=RESOURCE)
    assert no_scope.json()["error"] == "invalid_scope"
    no_grant = client.ask_token(grant_type="password")
    assert no_grant.json()["error"] == "unsupported_grant_type"


@pytest.fixture(scope="module")
def certificate() -> trustme.LeafCert:
    """A client certificate with an RSA key."""
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    return authority.issue_cert("connector.example", key_type=trustme.KeyType.RSA)


def thumbprint(certificate: trustme.LeafCert) -> str:
    """Hex SHA-256 of a certificate."""
    pem = certificate.cert_chain_pems[0].bytes().decode()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def credential_of(certificate: trustme.LeafCert) -> dict[str, str]:
    """What MSAL is given for a certificate; it works the SHA-256 thumbprint out itself."""
    return {
        "private_key": certificate.private_key_pem.bytes().decode(),
        "public_certificate": certificate.cert_chain_pems[0].bytes().decode(),
    }


def test_msal_gets_a_token_with_a_certificate(certificate: trustme.LeafCert) -> None:
    """The assertion that MSAL signs is taken where the certificate is the registered one, and refused where not."""
    for registered, expected in ((thumbprint(certificate), None), ("00" * 32, "invalid_client")):
        with (
            Simulator(fleet(), client_secret=None, certificate_thumbprint=registered) as simulator,
            PlainClient(simulator) as client,
        ):
            result = application(client, credential_of(certificate)).acquire_token_for_client([SCOPE])
            assert result.get("error") == expected
            assert expected or lets_in(client, result)


def test_an_assertion_of_the_wrong_shape_is_refused(client: PlainClient, certificate: trustme.LeafCert) -> None:
    """No JWT, another application's, one for another endpoint, an expired one: none is a credential."""
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    token_url = f"{client.simulator.authority}/{client.simulator.tenant_id}/oauth2/v2.0/token"
    own = client.simulator.client_id
    good = {"aud": token_url, "iss": own, "sub": own, "jti": "1", "exp": 2**33, "nbf": 0}
    wrong: list[dict[str, Any]] = [
        {"aud": "https://elsewhere.example"},
        {"iss": "x"},
        {"jti": ""},
        {"exp": 1},
        {"nbf": 2**33},
    ]
    header = {"typ": "JWT", "alg": "PS256", "x5t#S256": "AA"}
    assertions = [
        "rubbish",
        "a.b.c",
        *(jwt(header, good | change) for change in wrong),
        jwt(header | {"alg": "none"}, good),
    ]
    answers = [client.ask_token(client_assertion=text, client_assertion_type=kind) for text in assertions]
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(401, "invalid_client")] * 8
    assert client.ask_token(client_assertion=jwt(header, good), client_assertion_type=kind).status_code == 200
    assert client.ask_token(client_assertion=jwt(header, good), client_assertion_type="saml").status_code == 400
    assert certificate


def jwt(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A JWT with any signature."""
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))
    return f"{'.'.join(parts)}.c2ln"


def test_msal_gets_a_token_with_a_workload_identity(client: PlainClient) -> None:
    """A federated token is taken; one for another audience is not."""
    good = application(client, {"client_assertion": federated_token}).acquire_token_for_client([SCOPE])
    assert lets_in(client, good)
    other = jwt({"alg": "RS256"}, {"iss": "https://cluster.example", "sub": "x", "aud": "sts", "exp": 2**33})
    bad = application(client, {"client_assertion": lambda: other}).acquire_token_for_client([SCOPE])
    assert bad["error"] == "invalid_client"


def test_msal_gets_a_token_with_a_managed_identity(client: PlainClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms of the endpoint: App Service's, found by its variables, and a virtual machine's."""
    forms = (
        client.simulator.managed_identity_environment(),
        {"AZURE_POD_IDENTITY_AUTHORITY_HOST": client.simulator.authority},
    )
    for variables in forms:
        with monkeypatch.context() as environment:
            for name, value in variables.items():
                environment.setenv(name, value)
            identity = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=client.session)
            assert lets_in(client, identity.acquire_token_for_client(resource=RESOURCE))
            refused = identity.acquire_token_for_client(resource=SCOPE)
            assert "error" in refused


def test_a_managed_identity_needs_its_header(client: PlainClient) -> None:
    """Neither form answers a request that a page in a browser could make."""
    asked = [
        client.session.get(f"{client.simulator.authority}{path}", params={"resource": RESOURCE}, timeout=20).status_code
        for path in ("/msi/token", "/metadata/identity/oauth2/token")
    ]
    assert asked == [401, 400]


def test_msal_gets_a_delegated_token_with_a_device_code(client: PlainClient) -> None:
    """After one response that asks it to wait, MSAL has a token that says `scp` and no `roles`."""
    simulator = client.simulator
    public = msal.PublicClientApplication(
        simulator.client_id,
        authority=f"{simulator.authority}/{simulator.tenant_id}",
        instance_discovery=False,
        http_client=client.session,
    )
    flow = public.initiate_device_flow([f"{RESOURCE}/Software.Read"])
    assert flow["user_code"] in flow["message"]
    result = public.acquire_token_by_device_flow(flow)
    claims = claims_of(result["access_token"])
    assert (claims["scp"], claims.get("roles")) == ("Software.Read", None)
    assert lets_in(client, result)


def test_the_api_refuses_no_token_a_foreign_one_and_an_expired_one(client: PlainClient) -> None:
    """401 with the API's error body, whose target is a correlation id."""
    tokens = client.simulator.tokens
    expired = tokens.make_token(RESOURCE, {"roles": ["Software.Read.All"]}, seconds=-1)
    forged = jwt({"alg": "RS256"}, claims_of(client.token()))
    for token in (None, "rubbish", forged, expired):
        answer = client.get(LISTING, token=token)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], len(error["target"])) == (401, "Unauthorized", 36)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"roles": ()}, "Software.Read.All"),
        ({"roles": ("Vulnerability.Read.All",)}, "Software.Read.All"),
        ({"audience": "https://api.security.microsoft.com"}, "audience"),
    ],
)
def test_the_api_forbids_what_a_token_does_not_allow(settings: dict[str, Any], message: str) -> None:
    """A missing permission and another audience are 403, with a message that says which."""
    with Simulator(fleet(), **settings) as simulator, PlainClient(simulator) as client:
        answer = client.get(LISTING)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "Forbidden")
        assert message in answer.json()["error"]["message"]


def test_tokens_expire_by_the_simulators_clock() -> None:
    """A token is good for as long as it was made for, and then 401."""
    now = [datetime.now(UTC)]
    with Simulator(fleet(), token_seconds=60, clock=lambda: now[0]) as simulator, PlainClient(simulator) as client:
        assert client.get(LISTING).status_code == 200
        now[0] += timedelta(seconds=61)
        assert client.get(LISTING).status_code == 401
        assert client.get(LISTING, token=client.ask_token().json()["access_token"]).status_code == 200
