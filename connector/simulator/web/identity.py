"""The authority's paths: discovery, tokens, device codes, and both kinds of managed-identity endpoint.

Maps paths, parameters and error documents to `tokens`, which decides.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import Final

from connector.simulator.faults import Fault
from connector.simulator.web.answers import ServerRequest, ServerResponse, api_error, json_response
from connector.simulator.web.tokens import AuthorityError, TokenAuthority

IMDS_PATH: Final = "/metadata/identity/oauth2/token"
APP_SERVICE_PATH: Final = "/msi/token"
TOKEN_SUFFIX: Final = "/oauth2/v2.0/token"  # noqa: S105 - a path

_INSTANCE_PATH: Final = "/common/discovery/instance"


def is_token_path(path: str) -> bool:
    """Whether this path is a token endpoint."""
    return path.endswith((TOKEN_SUFFIX, IMDS_PATH, APP_SERVICE_PATH))


class Identity:
    """The endpoints of the authority and of managed identities."""

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

    def answer(self, request: ServerRequest, _: tuple[Fault, ...]) -> ServerResponse:
        """Respond to a request that is not for the API."""
        tenant, _slash, rest = request.path.lstrip("/").partition("/")
        try:
            if (request.method, request.path) in self._by_path:
                return self._by_path[request.method, request.path](request)
            if (request.method, rest) in self._by_tenant:
                return self._by_tenant[request.method, rest](request, tenant)
        except AuthorityError as error:
            return json_response(error.document(datetime.now(UTC)), status=error.status)
        return api_error(404, "ResourceNotFound", "Nothing answers this path.")

    def _discovery(self, request: ServerRequest, tenant: str) -> ServerResponse:
        return json_response(self._tokens.discovery(_base_url(request), tenant))

    def _instance(self, request: ServerRequest) -> ServerResponse:
        root = f"{_base_url(request)}/{self._tokens.client.tenant_id}"
        return json_response(
            {"tenant_discovery_endpoint": f"{root}/v2.0/.well-known/openid-configuration", "metadata": []}
        )

    def _keys(self, _: ServerRequest, __: str) -> ServerResponse:
        # Nobody but this authority checks its tokens, so there are no public keys to publish.
        return json_response({"keys": []})

    def _token(self, request: ServerRequest, tenant: str) -> ServerResponse:
        token_url = _base_url(request) + request.path
        return json_response(self._tokens.token(request.form, token_url=token_url, tenant=tenant))

    def _device_code(self, request: ServerRequest, tenant: str) -> ServerResponse:
        return json_response(self._tokens.device_code(request.form, base_url=_base_url(request), tenant=tenant))

    def _imds(self, request: ServerRequest) -> ServerResponse:
        if request.headers.get("Metadata") != "true":
            error = {"error": "bad_request_102", "error_description": "Required metadata header not specified"}
            return json_response(error, status=400)
        return self._managed_identity(request)

    def _app_service(self, request: ServerRequest) -> ServerResponse:
        header = request.headers.get("X-IDENTITY-HEADER", "")
        if not hmac.compare_digest(header.encode(), self._tokens.client.identity_header.encode()):
            return json_response({"statusCode": 401, "message": "The identity header is wrong."}, status=401)
        return self._managed_identity(request)

    def _managed_identity(self, request: ServerRequest) -> ServerResponse:
        resource = request.query.get("resource", "")
        if not resource.startswith("https://") or resource.endswith("/.default"):
            message = "The resource is not known; it is a resource, not a scope."
            error = {"error": "invalid_resource", "error_description": message, "statusCode": 500, "message": message}
            return json_response(error, status=400)
        return json_response(self._tokens.managed_identity_token(resource))


def _base_url(request: ServerRequest) -> str:
    return f"https://{request.host}"
