"""The authority's paths: discovery, tokens, device codes, and the two kinds of managed-identity endpoint.

Owns paths, parameters and error documents; `tokens` decides. Must not know aiohttp.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import Final

from connector.simulator.faults import Fault
from connector.simulator.web.answers import Answer, Asked, api_error, json_answer
from connector.simulator.web.tokens import AuthorityError, TokenAuthority

IMDS_PATH: Final = "/metadata/identity/oauth2/token"
APP_SERVICE_PATH: Final = "/msi/token"
TOKEN_SUFFIX: Final = "/oauth2/v2.0/token"  # noqa: S105 - a path

_INSTANCE_PATH: Final = "/common/discovery/instance"


def gives_tokens(path: str) -> bool:
    """Whether tokens are asked for under this path."""
    return path.endswith((TOKEN_SUFFIX, IMDS_PATH, APP_SERVICE_PATH))


class Identity:
    """Answers for the authority's host, and for the managed identity's."""

    def __init__(self, tokens: TokenAuthority) -> None:
        self._tokens = tokens
        self._by_tenant = {
            ("GET", "v2.0/.well-known/openid-configuration"): self._discovery,
            ("GET", ".well-known/openid-configuration"): self._discovery,
            ("GET", "discovery/v2.0/keys"): self._keys,
            ("POST", "oauth2/v2.0/token"): self._token,
            ("POST", "oauth2/v2.0/devicecode"): self._device_code,
        }
        self._by_path = {
            ("GET", _INSTANCE_PATH): self._instance,
            ("GET", IMDS_PATH): self._imds,
            ("GET", APP_SERVICE_PATH): self._app_service,
        }

    def answer(self, asked: Asked, _: tuple[Fault, ...]) -> Answer:
        """Answer a request that is not for the API."""
        tenant, _slash, rest = asked.path.lstrip("/").partition("/")
        try:
            if (asked.method, asked.path) in self._by_path:
                return self._by_path[asked.method, asked.path](asked)
            if (asked.method, rest) in self._by_tenant:
                return self._by_tenant[asked.method, rest](asked, tenant)
        except AuthorityError as error:
            return json_answer(error.document(datetime.now(UTC)), status=error.status)
        return api_error(404, "ResourceNotFound", "Nothing answers this path.")

    def _discovery(self, asked: Asked, tenant: str) -> Answer:
        return json_answer(self._tokens.discovery(_base_url(asked), tenant))

    def _instance(self, asked: Asked) -> Answer:
        root = f"{_base_url(asked)}/{self._tokens.client.tenant_id}"
        return json_answer(
            {"tenant_discovery_endpoint": f"{root}/v2.0/.well-known/openid-configuration", "metadata": []}
        )

    def _keys(self, _: Asked, __: str) -> Answer:
        # Nobody but this authority checks its tokens, so there are no public keys to give.
        return json_answer({"keys": []})

    def _token(self, asked: Asked, tenant: str) -> Answer:
        token_url = _base_url(asked) + asked.path
        return json_answer(self._tokens.token(asked.form, token_url=token_url, tenant=tenant))

    def _device_code(self, asked: Asked, tenant: str) -> Answer:
        return json_answer(self._tokens.device_code(asked.form, base_url=_base_url(asked), tenant=tenant))

    def _imds(self, asked: Asked) -> Answer:
        if asked.headers.get("Metadata") != "true":
            error = {"error": "bad_request_102", "error_description": "Required metadata header not specified"}
            return json_answer(error, status=400)
        return self._managed_identity(asked)

    def _app_service(self, asked: Asked) -> Answer:
        given = asked.headers.get("X-IDENTITY-HEADER", "")
        if not hmac.compare_digest(given.encode(), self._tokens.client.identity_header.encode()):
            return json_answer({"statusCode": 401, "message": "The identity header is wrong."}, status=401)
        return self._managed_identity(asked)

    def _managed_identity(self, asked: Asked) -> Answer:
        resource = asked.query.get("resource", "")
        if not resource.startswith("https://") or resource.endswith("/.default"):
            message = "The resource is not known; it is a resource, not a scope."
            error = {"error": "invalid_resource", "error_description": message, "statusCode": 500, "message": message}
            return json_answer(error, status=400)
        return json_answer(self._tokens.managed_identity_token(resource))


def _base_url(asked: Asked) -> str:
    return f"https://{asked.host}"
