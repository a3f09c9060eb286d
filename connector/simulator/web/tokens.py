"""The authority: OAuth 2.0 as Microsoft Entra ID implements it, as far as MSAL and this API need it.

Decides which client is authenticated, issues tokens and checks them, given forms and headers rather than HTTP requests.
Tokens look signed (a JWT of three parts, the third as long as an RSA signature) but the signature is a keyed hash that
only this authority can create and check.

Sources: RFC 6749, 7523, 8628; Microsoft's pages on the token endpoint, its error codes and managed identities.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

DEFENDER_AUDIENCE: Final = "https://api.securitycenter.microsoft.com"
APPLICATION_ROLE: Final = "Software.Read.All"
DELEGATED_SCOPE: Final = "Software.Read"
MACHINE_ROLE: Final = "Machine.Read.All"
FEDERATED_AUDIENCE: Final = "api://AzureADTokenExchange"
_JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_DEVICE_CODES_MAX: Final = 100
_SKEW_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Client:
    """The only application that may request tokens.

    Attributes:
        secret: its client secret; None: it has none.
        certificate_thumbprint: hex SHA-256 of its certificate; None: the assertion of any certificate is accepted.
        roles: application permissions listed in its tokens.
        audience: the audience of its tokens, instead of the one asked for.
        token_seconds: how long a token is valid.
        device_code_polls: how often a device-code client is asked to keep waiting.
    """

    tenant_id: str
    client_id: str
    secret: str | None
    certificate_thumbprint: str | None = None
    roles: tuple[str, ...] = (APPLICATION_ROLE,)
    audience: str | None = None
    token_seconds: int = 3599
    device_code_polls: int = 1
    identity_header: str = field(default_factory=secrets.token_hex, repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the API refuses a request: 401 or 403, with a code and a message."""

    status: int
    code: str
    message: str


class AuthorityError(Exception):
    """A token is refused; the response is Entra's error document."""

    def __init__(self, error: str, number: int, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.error = error
        self.number = number
        self.message = message
        self.status = status

    def document(self, now: datetime) -> dict[str, Any]:
        """The body of the response."""
        return {
            "error": self.error,
            "error_description": f"AADSTS{self.number}: {self.message}",
            "error_codes": [self.number],
            "timestamp": now.strftime("%Y-%m-%d %H:%M:%SZ"),
            "trace_id": str(uuid.uuid4()),
            "correlation_id": str(uuid.uuid4()),
        }


class TokenAuthority:
    """Issues tokens to one client of one tenant, and checks them."""

    def __init__(self, client: Client, *, clock: Callable[[], datetime]) -> None:
        self.client = client
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._device_codes: dict[str, int] = {}

    def discovery(self, base_url: str, tenant: str) -> dict[str, Any]:
        """The OpenID Connect discovery document of a tenant.

        Raises:
            AuthorityError: another tenant.
        """
        self._check_tenant(tenant)
        root = f"{base_url}/{tenant}"
        return {
            "issuer": f"{root}/v2.0",
            "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
            "token_endpoint": f"{root}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{root}/discovery/v2.0/keys",
            "response_types_supported": ["code", "id_token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "tenant_region_scope": "EU",
        }

    def token(self, form: Mapping[str, str], *, token_url: str, tenant: str) -> dict[str, Any]:
        """Respond to a token request.

        Raises:
            AuthorityError: the request is refused.
        """
        self._check_tenant(tenant)
        grant = form.get("grant_type", "")
        if form.get("client_id") != self.client.client_id:
            raise AuthorityError(
                "unauthorized_client", 700016, "Application with the given identifier was not found in the directory."
            )
        if grant == _DEVICE_GRANT:
            return self._device_token(form)
        if grant != "client_credentials":
            raise AuthorityError(
                "unsupported_grant_type", 70003, f"The app requested an unsupported grant type '{grant}'."
            )
        self._check_credential(form, token_url)
        scope = form.get("scope", "")
        if not scope.endswith("/.default"):
            raise AuthorityError(
                "invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid."
            )
        return self._token_document(scope.removesuffix("/.default"), {"roles": list(self.client.roles)})

    def device_code(self, form: Mapping[str, str], *, base_url: str, tenant: str) -> dict[str, Any]:
        """Start a device-code sign-in.

        Raises:
            AuthorityError: another client or tenant.
        """
        self._check_tenant(tenant)
        if form.get("client_id") != self.client.client_id or len(self._device_codes) >= _DEVICE_CODES_MAX:
            raise AuthorityError("unauthorized_client", 700016, "Application with the given identifier was not found.")
        code = secrets.token_urlsafe(32)
        self._device_codes[code] = self.client.device_code_polls
        user_code = secrets.token_hex(5).upper()[:9]
        page = f"{base_url}/devicelogin"
        return {
            "user_code": user_code,
            "device_code": code,
            "verification_uri": page,
            "expires_in": 900,
            "interval": 1,
            "message": f"To sign in, open the page {page} in a web browser and enter the code {user_code}.",
        }

    def managed_identity_token(self, resource: str) -> dict[str, Any]:
        """A managed identity's token, in a form that suits both IMDS and App Service."""
        document = self._token_document(resource.rstrip("/"), {"roles": list(self.client.roles)})
        seconds = document["expires_in"]
        return {
            "access_token": document["access_token"],
            "client_id": self.client.client_id,
            "expires_in": str(seconds),
            "expires_on": str(int(self._clock().timestamp()) + seconds),
            "resource": resource,
            "token_type": "Bearer",
        }

    def refusal(
        self, authorization: str | None, audiences: frozenset[str], *, role: str = APPLICATION_ROLE
    ) -> Refusal | None:
        """Why the API refuses a request with this Authorization header; None: it is accepted.

        Args:
            authorization: the header.
            audiences: the audiences that the API accepts.
            role: the application permission that the request needs; a user needs the same without `.All`.
        """
        kind, _, token = (authorization or "").partition(" ")
        claims = self._claims(token) if kind.lower() == "bearer" else None
        if claims is None:
            return Refusal(401, "Unauthorized", "The request needs a valid bearer token.")
        if claims["exp"] <= self._clock().timestamp():
            return Refusal(401, "Unauthorized", "The bearer token has expired.")
        if str(claims["aud"]).rstrip("/") not in audiences:
            return Refusal(403, "Forbidden", "The token's audience is not this API.")
        scopes = str(claims.get("scp", "")).split()
        if role not in claims.get("roles", ()) and role.removesuffix(".All") not in scopes:
            return Refusal(
                403,
                "Forbidden",
                f"The application does not have any of the required application permissions ({role}) to"
                " access the resource.",
            )
        return None

    def client_of(self, authorization: str) -> str:
        """The application that an accepted token was issued to."""
        claims = self._claims(authorization.partition(" ")[2]) or {}
        return str(claims.get("appid", ""))

    def make_token(self, audience: str, claims: Mapping[str, Any], *, seconds: int | None = None) -> str:
        """Issue a token: a JWT that this authority accepts."""
        now = int(self._clock().timestamp())
        lifetime = self.client.token_seconds if seconds is None else seconds
        payload = {
            "aud": self.client.audience or audience,
            "iss": f"https://sts.windows.net/{self.client.tenant_id}/",
            "iat": now,
            "nbf": now,
            "exp": now + lifetime,
            "appid": self.client.client_id,
            "tid": self.client.tenant_id,
            "oid": str(uuid.uuid5(uuid.NAMESPACE_OID, self.client.client_id)),
            "ver": "1.0",
            **claims,
        }
        signed = f"{_encode({'typ': 'JWT', 'alg': 'RS256', 'kid': 'simulator'})}.{_encode(payload)}"
        return f"{signed}.{self._signature(signed)}"

    def _token_document(self, audience: str, claims: Mapping[str, Any]) -> dict[str, Any]:
        seconds = self.client.token_seconds
        token = self.make_token(audience, claims)
        return {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token}

    def _device_token(self, form: Mapping[str, str]) -> dict[str, Any]:
        code = form.get("device_code", "")
        if code not in self._device_codes:
            raise AuthorityError("bad_verification_code", 70018, "Bad device code.")
        if self._device_codes[code] > 0:
            self._device_codes[code] -= 1
            raise AuthorityError("authorization_pending", 70016, "The code was not entered yet.")
        del self._device_codes[code]
        return self._token_document(DEFENDER_AUDIENCE, {"scp": DELEGATED_SCOPE}) | {
            "scope": f"{DEFENDER_AUDIENCE}/{DELEGATED_SCOPE}"
        }

    def _check_tenant(self, tenant: str) -> None:
        if tenant.lower() != self.client.tenant_id.lower():
            raise AuthorityError("invalid_tenant", 90002, f"Tenant '{tenant}' not found.")

    def _check_credential(self, form: Mapping[str, str], token_url: str) -> None:
        if "client_assertion" in form:
            if form.get("client_assertion_type") != _JWT_BEARER:
                raise AuthorityError("invalid_request", 50027, "The client assertion type is not supported.")
            self._check_assertion(form["client_assertion"], token_url)
            return
        if self.client.secret is None or not hmac.compare_digest(
            form.get("client_secret", "").encode(), self.client.secret.encode()
        ):
            raise AuthorityError("invalid_client", 7000215, "Invalid client secret provided.", status=401)

    def _check_assertion(self, assertion: str, token_url: str) -> None:
        """Check an assertion: one that names a certificate (RFC 7523), otherwise a federated identity's."""
        decoded = _decode(assertion)
        if decoded is None:
            raise AuthorityError("invalid_client", 50027, "The client assertion is not a JWT.", status=401)
        header, claims = decoded
        now = self._clock().timestamp()
        if not now - _SKEW_SECONDS < float(claims.get("exp", 0)) or float(claims.get("nbf", 0)) > now + _SKEW_SECONDS:
            raise AuthorityError(
                "invalid_client", 700024, "Client assertion is not within its valid time range.", status=401
            )
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        thumbprint = header.get("x5t#S256") or header.get("x5t")
        if thumbprint is None:
            if FEDERATED_AUDIENCE not in audiences or not claims.get("iss") or not claims.get("sub"):
                raise AuthorityError(
                    "invalid_client", 700212, "No matching federated identity record found.", status=401
                )
            return
        is_own = claims.get("iss") == claims.get("sub") == self.client.client_id and claims.get("jti")
        if not is_own or token_url not in audiences or header.get("alg") not in ("RS256", "PS256"):
            raise AuthorityError("invalid_client", 700027, "Client assertion contains an invalid claim.", status=401)
        expected = self.client.certificate_thumbprint
        if expected and str(header.get("x5t#S256")).rstrip("=") != _base64(bytes.fromhex(expected)):
            raise AuthorityError(
                "invalid_client", 700027, "The certificate is not registered on the application.", status=401
            )

    def _claims(self, token: str) -> dict[str, Any] | None:
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            return None
        decoded = _decode(token)
        return decoded[1] if decoded else None

    def _signature(self, signed: str) -> str:
        return _base64(hashlib.shake_256(self._key + signed.encode()).digest(256))


def federated_token(*, subject: str = "system:serviceaccount:defender:connector", seconds: int = 3600) -> str:
    """A workload identity's assertion, as a cluster would write it to the token file."""
    now = int(datetime.now(UTC).timestamp())
    claims = {
        "iss": "https://cluster.example",
        "sub": subject,
        "aud": [FEDERATED_AUDIENCE],
        "iat": now,
        "exp": now + seconds,
    }
    return f"{_encode({'typ': 'JWT', 'alg': 'RS256', 'kid': 'cluster'})}.{_encode(claims)}.{secrets.token_urlsafe(256)}"


def _encode(values: Mapping[str, Any]) -> str:
    return _base64(json.dumps(values, separators=(",", ":")).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Header and claims of a JWT; None where it is not one."""
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):  # noqa: PLR2004 - header, claims, signature
        return None
    try:
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2])
    except ValueError:
        return None
    return (header, claims) if isinstance(header, dict) and isinstance(claims, dict) else None
