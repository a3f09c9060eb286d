"""What every endpoint of the API checks first: the method, the token and its permission, and the rate limits."""

from __future__ import annotations

from connector.simulator.faults import Endpoint
from connector.simulator.web.answers import ServerRequest, ServerResponse, api_error
from connector.simulator.web.limits import RateLimiter
from connector.simulator.web.tokens import TokenAuthority


class Gate:
    """Lets a request through to its endpoint, or refuses it.

    Args:
        tokens: checks tokens.
        limiter: counts calls.
        audiences: the audiences that the API accepts.
    """

    def __init__(self, tokens: TokenAuthority, limiter: RateLimiter, audiences: frozenset[str]) -> None:
        self._tokens = tokens
        self._limiter = limiter
        self._audiences = audiences

    def refuse(self, request: ServerRequest, endpoint: Endpoint, *, role: str) -> ServerResponse | None:
        """The response that refuses a request; None where it may go on. `role` is the permission that it needs."""
        if request.method != "GET":
            return api_error(405, "MethodNotAllowed", "The requested resource does not support this method.")
        refusal = self._tokens.refusal(request.authorization, self._audiences, role=role)
        if refusal:
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'} if refusal.status == 401 else None  # noqa: PLR2004 - Unauthorized
            return api_error(refusal.status, refusal.code, refusal.message, headers)
        client = self._tokens.client_of(request.authorization or "")
        wait = self._limiter.wait_seconds(client, request.path, endpoint)
        if wait:
            message = "API calls quota exceeded. Try again later."
            return api_error(429, "TooManyRequests", message, {"Retry-After": str(int(wait) + 1)})
        return None
