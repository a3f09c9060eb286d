"""Obtains tokens for the API.

In one of five ways, chosen by `source.auth`: a client secret, a certificate, a workload identity (a token of the
platform, read again each time it is needed), a managed identity, or a person who signs in on another device. msal makes
the requests; this module turns its results into tokens, cached while they are valid, or into errors that say what to
do.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import re
import textwrap
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msal
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates
from msal.authority import WELL_KNOWN_AUTHORITY_HOSTS
from msal.exceptions import MsalServiceError

from connector.clock import Backoff, Timer
from connector.config.tables import SourceConfig
from connector.config.values import decode
from connector.errors import (
    ConfigError,
    ConnectorError,
    SourceDenied,
    SourceError,
    SourceMalformed,
    SourceUnavailable,
)
from connector.source.http.transport import Transport
from connector.telemetry import logger
from connector.wording import counted

log = logger(__name__)

PERMISSION: Final = "Software.Read.All"
DELEGATED_PERMISSION: Final = "Software.Read"
FEDERATED_VARIABLE: Final = "AZURE_FEDERATED_TOKEN_FILE"
FEDERATED_BYTES_MAX: Final = 2**16
RENEW_SECONDS: Final = 300.0
"""A token is not used in its last minutes; msal has the same rule."""

VALID_SECONDS_MAX: Final = 86_400.0
"""A token is renewed after a day at the latest, whatever `expires_in` says: the longest life of Microsoft's."""

REASON_CHARACTERS_MAX: Final = 1_000
CERTIFICATE_DAYS: Final = 30
"""A certificate that ends within these days is mentioned."""

TRANSIENT: Final = frozenset({"temporarily_unavailable", "server_error"})
"""Temporary errors of the login service (RFC 6749, 4.1.2.1)."""

HINTS: Final = {
    "7000215": "source.client_secret is wrong: it must be the secret's value, not its id.",
    "7000222": "The client secret has expired: create a new one for the app registration.",
    "700016": "The tenant has no such application: check source.client_id and source.tenant_id.",
    "90002": "There is no such tenant: check source.tenant_id and source.cloud.",
    "900023": "There is no such tenant: check source.tenant_id.",
    "700027": "The certificate is not one of the app registration's: upload it there.",
    "700024": "The assertion is not valid at this time: check this machine's clock.",
    "70021": "The app registration trusts no such workload: add its issuer and subject as a federated credential.",
    "700211": "The app registration trusts no such workload: add its issuer as a federated credential.",
    "700212": "The app registration trusts no such workload: add its audience as a federated credential.",
    "700213": "The app registration trusts no such workload: add its subject as a federated credential.",
    "500011": "The tenant does not know the resource of source.scope: check source.scope and source.cloud.",
    "53003": "A conditional access policy blocks this sign-in.",
    "7000112": "The application is disabled in the tenant.",
    "7000218": "The app registration must allow public client flows for device_code.",
}
"""Hints for the login service's codes (AADSTS…). Source: Microsoft's page of error codes (2025)."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says about itself; empty where it says nothing. Nothing is verified here: the API does that."""

    audience: str = ""
    tenant_id: str = ""
    application_id: str = ""
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None


class Tokens:
    """Obtains the tokens of one tenant; one instance per tenant and process, usable from any thread.

    Args:
        config: `[source]`.
        transport: provides msal's sessions, its only network access.
        prompt: shows the message of a device-code sign-in.
        environ: environment variables; the platform names the file of a workload identity there.
        backoff: how often the login service is tried.
    """

    def __init__(
        self,
        config: SourceConfig,
        transport: Transport,
        *,
        prompt: Callable[[str], None] = print,
        environ: Mapping[str, str] = os.environ,
        backoff: Backoff = Backoff(attempts_max=3, first_seconds=5.0),  # noqa: B008 - frozen
    ) -> None:
        self._config = config
        self._transport = transport
        self._prompt = prompt
        self._environ = environ
        self._backoff = backoff
        self._timer = Timer(transport.stop)
        self._lock = threading.RLock()
        self._client: Any = None
        self._token = ""
        self._good_until = 0.0

    def token(self, *, renew: bool = False) -> str:
        """A token that is valid now; with `renew`, a new one even if the last seems valid.

        Raises:
            SourceDenied: the login service refuses.
            SourceUnavailable: it cannot be reached, or does not work.
            SourceMalformed: it returned an undocumented response.
            ConfigError: the certificate or the platform's token cannot be read.
            Stopped: asked to stop.
        """
        with self._lock:
            if self._token and not renew and self._timer.monotonic() < self._good_until:
                return self._token
            failures = 0
            while True:
                try:
                    return self._request_token(renew=renew)
                except SourceUnavailable:
                    failures += 1
                    if failures >= self._backoff.attempts_max:
                        raise
                    self._timer.wait(self._backoff.seconds(failures))

    def token_with_seconds(self) -> tuple[str, float]:
        """A token that is valid now, and for how many seconds it still is. Raises as `token`."""
        with self._lock:
            token = self.token()
            return token, max(self._good_until + RENEW_SECONDS - self._timer.monotonic(), 0.0)

    def _request_token(self, *, renew: bool) -> str:
        try:
            if self._client is None:
                self._client = self._make_client()
            result = self._acquire(renew=renew)
        except (ConnectorError, MemoryError):
            raise
        except MsalServiceError as error:
            raise SourceUnavailable(
                f"the login service does not work: {error}", hint="The next poll tries again."
            ) from error
        except Exception as error:  # msal checks no response: an odd one raises whatever its code happens to raise
            raise self._error_of(error) from error
        token, seconds = _read_token(result)
        self._token = token
        self._good_until = self._timer.monotonic() + seconds - RENEW_SECONDS
        return self._token

    # ---- the five ways to sign in

    def _make_client(self) -> Any:  # noqa: ANN401 - msal has no types
        config = self._config
        if config.auth == "managed_identity":
            return self._managed_identity()
        authority = {
            "authority": f"{config.authority}/{config.tenant_id}",
            "http_client": self._transport.login_session,
            # Otherwise msal asks Microsoft about every authority that it does not know.
            "instance_discovery": None if urlsplit(config.authority).hostname in WELL_KNOWN_AUTHORITY_HOSTS else False,
        }
        if config.auth == "device_code":
            return msal.PublicClientApplication(config.client_id, **authority)
        return msal.ConfidentialClientApplication(config.client_id, client_credential=self._credential(), **authority)

    def _credential(self) -> str | dict[str, Any]:
        config = self._config
        if config.auth == "workload_identity":
            return {"client_assertion": self._assertion}
        if config.auth == "certificate":
            assert config.certificate_path is not None  # noqa: S101 - the configuration was checked
            return read_certificate(config.certificate_path, _password_of(config))
        assert config.client_secret is not None  # noqa: S101 - the configuration was checked
        return config.client_secret.get_secret_value()

    def _managed_identity(self) -> Any:  # noqa: ANN401 - msal has no types
        identity = (
            msal.UserAssignedManagedIdentity(client_id=self._config.client_id)
            if self._config.client_id
            else msal.SystemAssignedManagedIdentity()
        )
        return msal.ManagedIdentityClient(identity, http_client=self._transport.local_session)

    def _assertion(self) -> str:
        """The platform's token, read from its file each time, since the platform replaces it about every hour."""
        path = self._config.federated_token_file or self._environ.get(FEDERATED_VARIABLE)
        if not path:
            raise ConfigError(
                "source.federated_token_file: is needed where auth is workload_identity",
                hint=f"The platform usually sets ${FEDERATED_VARIABLE} to its path.",
            )
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - a path or a text
                token = decode(file.read(FEDERATED_BYTES_MAX)).strip()
            if not token.isascii():
                raise ValueError("it is not a token")  # noqa: TRY301 - one error for all of them
            return token  # noqa: TRY300 - the same
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(
                f"source.federated_token_file: cannot read {path}: {reason}", hint="Is the service account mounted?"
            ) from error

    def _acquire(self, *, renew: bool) -> Any:  # noqa: ANN401 - msal has no types
        auth, scopes = self._config.auth, [self._config.scope]
        if auth == "managed_identity":
            if renew:
                self._client = self._managed_identity()
            return self._client.acquire_token_for_client(resource=self._config.scope.removesuffix("/.default"))
        if auth == "device_code":
            accounts = self._client.get_accounts()
            cached = self._client.acquire_token_silent(scopes, accounts[0], force_refresh=renew) if accounts else None
            return cached or self._sign_in(scopes)
        if renew:
            self._client.remove_tokens_for_client()
        return self._client.acquire_token_for_client(scopes)

    def _sign_in(self, scopes: list[str]) -> Any:  # noqa: ANN401 - msal has no types
        """Let a person sign in elsewhere, and wait until they have, the code expires, or a stop."""
        flow = self._client.initiate_device_flow(scopes=scopes)
        if "user_code" not in flow:
            return flow
        self._prompt(flow["message"])
        result = self._client.acquire_token_by_device_flow(
            flow, exit_condition=lambda flow: self._timer.stop.is_set() or flow["expires_at"] < time.time()
        )
        self._timer.check()
        return result

    def _error_of(self, error: Exception) -> SourceError:
        if isinstance(error, OSError):
            return _unreadable_key_error(error)
        if self._config.auth == "managed_identity":
            reason = f": {_reason(error)}" if type(error) is not json.JSONDecodeError and str(error) else ""
            return SourceUnavailable(
                f"the managed identity endpoint returned an undocumented response{reason}",
                hint="Does this machine have a managed identity? If not, choose another source.auth.",
            )
        is_unreadable = isinstance(error, json.JSONDecodeError | RecursionError)
        if is_unreadable or not isinstance(error, ValueError | RuntimeError):
            return _malformed_error(
                f"{self._config.authority} returned an undocumented response ({type(error).__name__})"
            )
        return SourceDenied(
            f"no token from {self._config.authority}: {_reason(error)}",
            hint="Check source.tenant_id, source.authority and source.cloud.",
        )


def _read_token(result: object) -> tuple[str, float]:
    """The token of a result of msal, and the seconds for which it is valid.

    Raises:
        SourceDenied, SourceUnavailable: the login service returned an error instead.
        SourceMalformed: the result has no form that is documented.
    """
    if not isinstance(result, Mapping | None):
        raise _malformed_error("the login service returned no object")
    if not result or not result.get("access_token"):
        raise _refusal_error(result or {})
    token = result["access_token"]
    if not isinstance(token, str):
        raise _malformed_error("the login service returned an access_token that is not a text")
    if not (token.isascii() and token.isprintable() and " " not in token):
        # The HTTP library would refuse such a header, with the token in its error.
        raise SourceUnavailable(
            "the login service returned a token that no header can carry",
            hint="Check source.authority. Does a proxy change responses?",
        )
    try:
        seconds = float(result.get("expires_in") or 0)
    except (ValueError, TypeError, OverflowError) as error:
        raise _malformed_error("the login service returned an expires_in that is not a number") from error
    if not 0 <= seconds < math.inf:
        raise _malformed_error(f"the login service returned an expires_in of {seconds}")
    return token, min(seconds, VALID_SECONDS_MAX)


def _malformed_error(message: str) -> SourceMalformed:
    return SourceMalformed(message, hint="Check source.authority. Does a proxy change responses?")


def _refusal_error(result: Mapping[str, Any]) -> SourceError:
    """The error for a result without a token."""
    code = _as_text(result.get("error")) or "no token"
    description = _reason(result.get("error_description") or "")
    message = f"the login service returned {code}" + (f": {description}" if description else "")
    if code in TRANSIENT:
        return SourceUnavailable(message, hint="The next poll tries again.")
    number = re.search(r"AADSTS(\d+)", description)
    general_hint = "Check source.tenant_id, source.client_id and the credential."
    return SourceDenied(message, hint=HINTS.get(number[1], general_hint) if number else general_hint)


def _reason(text: object) -> str:
    """What msal says, on one line; cut between two words, and only where it has no end."""
    words = str(text).split()
    # msal fills in what a response does not have: "None, None".
    return (
        ""
        if {word.strip(",") for word in words} <= {"None"}
        else textwrap.shorten(" ".join(words), REASON_CHARACTERS_MAX, placeholder=" …")
    )


def _unreadable_key_error(error: OSError) -> SourceError:
    """The agent of Azure Arc puts a key into a file, which proves that whoever asks may read it."""
    message = f"no token from the agent of Azure Arc: cannot read {error.filename}: {error.strerror}"
    if isinstance(error, PermissionError):
        return SourceDenied(message, hint="Add this user to the group himds, and start the connector again.")
    return SourceUnavailable(
        message, hint="Is the Azure Connected Machine agent on this machine, not in another container?"
    )


def read_certificate(path: Path, password: str | None) -> dict[str, str]:
    """Read what msal needs from a PFX or PEM file; msal derives the SHA-256 thumbprint from the certificate.

    Raises:
        ConfigError: the file is unreadable, has no RSA key or no certificate of that key, or the password is wrong.
        SourceDenied: the certificate has expired, or is not valid yet.
    """
    certificate, key = _read_pair(path, password)
    if ends_soon(certificate.not_valid_after_utc):
        log.warning("the client certificate ends soon", ends=certificate.not_valid_after_utc, path=str(path))
    return _as_msal_wants(certificate, key)


def _read_pair(path: Path, password: str | None) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    try:
        content = path.read_bytes()
        key, certificates = _unpack(content, password.encode() if password else None)
    except (OSError, ValueError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a PFX or PEM file, or a wrong password"
        raise ConfigError(
            f"source.certificate_path: cannot use {path}: {reason}",
            hint="It must be a PFX file, or a PEM file with both key and certificate; see source.certificate_password.",
        ) from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigError(f"source.certificate_path: {path} has no RSA key", hint="The login service accepts RSA only.")
    certificate = _best_of([item for item in certificates if item.public_key() == key.public_key()])
    if certificate is None:
        raise ConfigError(
            f"source.certificate_path: {path} has no certificate of its key", hint="Put both into the same file."
        )
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise SourceDenied(
            f"the certificate in {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}",
            hint="Create a new one and upload it to the app registration.",
        )
    if certificate.not_valid_before_utc > datetime.now(UTC):
        raise SourceDenied(
            f"the certificate in {path} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} on",
            hint="Keep using the former one until then, or check this machine's clock.",
        )
    return certificate, key


def certificate_end(config: SourceConfig) -> datetime | None:
    """When the client certificate ends; None where there is none. Raises as `read_certificate`."""
    if config.auth != "certificate" or config.certificate_path is None:
        return None
    return _read_pair(config.certificate_path, _password_of(config))[0].not_valid_after_utc


def describe_end(end: datetime) -> str:
    """When a certificate ends, for people: the day, and in how many days."""
    return f"ends on {end:%Y-%m-%d}, in {counted((end - datetime.now(UTC)).days, 'day')}"


def ends_soon(end: datetime) -> bool:
    """Whether a certificate ends so soon that it must be replaced now."""
    return end - datetime.now(UTC) < timedelta(days=CERTIFICATE_DAYS)


def _password_of(config: SourceConfig) -> str | None:
    return config.certificate_password.get_secret_value() if config.certificate_password else None


def _best_of(certificates: list[x509.Certificate]) -> x509.Certificate | None:
    """The one to use of several certificates of one key, as a renewal leaves them: valid now, and for longest."""
    now = datetime.now(UTC)
    return max(
        certificates, key=lambda item: (item.not_valid_before_utc <= now, item.not_valid_after_utc), default=None
    )


def _as_msal_wants(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> dict[str, str]:
    return {
        "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii"),
        "public_certificate": certificate.public_bytes(Encoding.PEM).decode("ascii"),
    }


def _unpack(content: bytes, password: bytes | None) -> tuple[object, list[x509.Certificate]]:
    if b"-----BEGIN" not in content:
        key, certificate, others = load_key_and_certificates(content, password)
        return key, [item for item in (certificate, *others) if item is not None]
    block = re.search(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", content, re.DOTALL)
    if block is None:
        return None, []
    secret = password if b"ENCRYPTED" in block[0] else None
    return load_pem_private_key(block[0], secret), x509.load_pem_x509_certificates(content)


def claims_of(token: str) -> Claims:
    """What a token says about itself, on a best-effort basis; garbage gives empty claims, never an error."""
    try:
        piece = token.split(".")[1]
        payload = json.loads(base64.urlsafe_b64decode(piece + "=" * (-len(piece) % 4)))
        expiry = payload.get("exp")
        return Claims(
            audience=_as_text(payload.get("aud")),
            tenant_id=_as_text(payload.get("tid")),
            application_id=_as_text(payload.get("appid") or payload.get("azp")),
            roles=_as_texts(payload.get("roles")),
            scopes=_as_texts(str(payload.get("scp") or "").split()),
            expires_at=datetime.fromtimestamp(expiry, UTC) if isinstance(expiry, int | float) else None,
        )
    except (IndexError, ValueError, AttributeError, TypeError, OverflowError, OSError, RecursionError, binascii.Error):
        return Claims()


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _as_texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def explain_denial(token: str, scope: str) -> str:
    """The hint for a 403: why the API may have refused the token, and what to do."""
    claims = claims_of(token)
    expected = scope.removesuffix("/.default").rstrip("/")
    if claims == Claims():
        return "The token cannot be read. Check source.scope and source.cloud."
    if claims.audience.rstrip("/") not in (expected, "fc780465-2017-40d4-a0c5-307022471b92"):
        return (
            f"The token is for {claims.audience or 'nobody'}, not for {expected}: check source.scope and source.cloud."
        )
    if PERMISSION in claims.roles or DELEGATED_PERMISSION in claims.scopes:
        return (
            "The token has the permission. Does the tenant have a licence for Defender Vulnerability Management, and is"
            " source.api_url the one of its region?"
        )
    if claims.scopes and not claims.roles:
        return f"The token is a user's and lacks {DELEGATED_PERMISSION}: grant that delegated permission."
    roles = ", ".join(claims.roles) or "none"
    return (
        f"The token lacks the application permission {PERMISSION} (it has: {roles}): add it to the app registration"
        " (WindowsDefenderATP) and have an administrator consent."
    )
