"""Calls the export API: within its rate limits, with a token and bounded retries, each kind of error distinguished.

The caller reads the body; the status is interpreted here:

    200            success, if the caller can read the body; otherwise retried
    401            the token is renewed once
    403            SourceDenied, explained by the token's claims
    404, 408, 5xx  retried with back-off
    429            waits as long as the service asks, or until the window passes; SourceThrottled where that is too long
    else           SourceMalformed
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from connector.clock import Backoff, Timer, retry_after
from connector.errors import (
    SourceDenied,
    SourceError,
    SourceMalformed,
    SourceThrottled,
    SourceUnavailable,
    SourceUnreachable,
)
from connector.exports.fields import ApiEndpoint
from connector.source.http.hosts import Link
from connector.source.http.rate_limits import MINUTE_SECONDS, Limiter
from connector.source.http.tokens import Tokens, explain_denial
from connector.source.http.transport import Response, Transport
from connector.source.progress import FetchCounter
from connector.telemetry import logger

log = logger(__name__)
T = TypeVar("T")

ERROR_BYTES_MAX: Final = 2**16
ERROR_CHARACTERS_MAX: Final = 300
OK, NO_CONTENT, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TIMED_OUT, TOO_MANY = 200, 204, 401, 403, 404, 408, 429
BROKEN = 500


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often a call is tried.

    Attributes:
        backoff: attempts, and the waits between them.
        wait_seconds_max: how long a call may wait for the rate limits in total.
    """

    backoff: Backoff = field(default_factory=Backoff)
    wait_seconds_max: float = 600.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the endpoint whose limits it counts against, the URL, and how much may be received in what time."""

    endpoint: ApiEndpoint
    link: Link
    bytes_max: int
    seconds_max: float


class Api:
    """The export API of one tenant.

    Args:
        scope: the scope of the tokens, to explain a denial.
        tokens: sent to the API's own host only.
        transport: makes the requests.
        limiter: keeps the rate limits.
        timer: clocks and waits.
        counter: counts what is received.
        patience: bounds of retries and waits.
    """

    def __init__(
        self,
        scope: str,
        *,
        tokens: Tokens,
        transport: Transport,
        limiter: Limiter,
        timer: Timer,
        counter: FetchCounter,
        patience: Patience,
    ) -> None:
        self._scope = scope
        self._tokens = tokens
        self._transport = transport
        self._limiter = limiter
        self._timer = timer
        self._counter = counter
        self._patience = patience

    def ask(self, call: Call, read: Callable[[bytearray], T]) -> T:
        """Make a call and read its response.

        Args:
            call: the call to make.
            read: parses the body; if it raises SourceMalformed, the response counts as cut off and the call is retried.

        Raises:
            SourceDenied: there is no token, or it lacks a permission.
            SourceThrottled: the limits ask for a longer wait than a poll allows.
            SourceUnavailable: every attempt failed.
            SourceMalformed: every response was unreadable, or had a status that no retry will change.
            Stopped: asked to stop.
        """
        failures, renewed = 0, False
        deadline = self._timer.monotonic() + self._patience.wait_seconds_max
        while True:
            self._timer.check()
            headers = self._headers(call.link)
            self._limiter.acquire(call.endpoint, wait_seconds_max=max(deadline - self._timer.monotonic(), 0.0))
            try:
                return self._attempt(call, headers, read)
            except _FailedError as failed:
                if isinstance(failed.error, _TokenExpired) and not renewed:
                    renewed = True
                    self._tokens.token(renew=True)
                    continue
                failures += 1
                if failures >= self._patience.backoff.attempts_max or not failed.retryable:
                    raise failed.error from failed.error.__cause__
                self._wait_for_retry(call, failed, failures)

    def _attempt(self, call: Call, headers: dict[str, str], read: Callable[[bytearray], T]) -> T:
        try:
            stop = self._timer.stop
            with self._transport.get(call.link, headers, seconds_max=call.seconds_max, stop=stop) as response:
                if response.status == OK:
                    return read(response.body(call.bytes_max, self._counter.add_bytes))
                asked_seconds = retry_after(response.headers.get("retry-after"), self._timer.now())
                raise _FailedError(self._error_of(call, response), asked_seconds)
        except SourceUnreachable as error:
            # SourceUnreachable is for the file storage only, where it makes `Source` fetch pages instead.
            unavailable = SourceUnavailable(str(error), hint=error.hint)
            unavailable.__cause__ = error
            raise _FailedError(unavailable) from error
        except (SourceUnavailable, SourceMalformed) as error:
            raise _FailedError(error, retryable=True) from error

    def _wait_for_retry(self, call: Call, failed: _FailedError, failures: int) -> None:
        """Wait before the next attempt. After a 429 the limiter blocks instead, for the next poll too."""
        throttled = isinstance(failed.error, SourceThrottled)
        asked_seconds = failed.asked_seconds or 0.0
        seconds = max(
            self._patience.backoff.seconds(failures), asked_seconds if throttled else min(asked_seconds, MINUTE_SECONDS)
        )
        if throttled:
            if failed.asked_seconds is None:
                seconds = MINUTE_SECONDS * failures
            self._limiter.block(call.endpoint, seconds)
        log.warning(
            "a call failed and will be retried",
            endpoint=call.endpoint.path,
            error=str(failed.error),
            attempt=failures,
            seconds=round(seconds, 1),
        )
        if not throttled:
            self._timer.wait(seconds)

    def _headers(self, link: Link) -> dict[str, str]:
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        return headers | {"Authorization": f"Bearer {self._tokens.token()}"} if link.is_api else headers

    def _error_of(self, call: Call, response: Response) -> SourceError:
        """The error for a response other than 200."""
        message = f"{call.endpoint.path} responded with {response.status}{_describe_error_body(response)}"
        if response.status == UNAUTHORIZED:
            hint = explain_denial(self._tokens.token(), self._scope) if call.link.is_api else ""
            return _TokenExpired(
                message, hint=hint or "Tokens are sent to the API's own host only: check source.api_url."
            )
        if response.status == FORBIDDEN:
            return SourceDenied(message, hint=explain_denial(self._tokens.token(), self._scope))
        if response.status == TOO_MANY:
            return SourceThrottled(
                message, hint="The limits count per application and tenant: does another tool use the same application?"
            )
        if response.status == NOT_FOUND:
            return SourceUnavailable(message, hint="Check source.api_url.")
        if response.status in (NO_CONTENT, TIMED_OUT) or response.status >= BROKEN:
            return SourceUnavailable(message, hint="The service has a problem. The next poll tries again.")
        return SourceMalformed(message, hint="Check source.api_url. Does a proxy change responses?")


class _TokenExpired(SourceDenied):
    """401: the only denial that a new token may cure."""


class _FailedError(Exception):
    """An attempt that failed; never leaves this module.

    Attributes:
        error: the error to raise if the call is not retried.
        asked_seconds: the wait that `Retry-After` asks for.
        retryable: whether another attempt may succeed.
    """

    def __init__(self, error: SourceError, asked_seconds: float | None = None, *, retryable: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.asked_seconds = asked_seconds
        self.retryable = retryable or isinstance(error, SourceUnavailable | SourceThrottled)


def _describe_error_body(response: Response) -> str:
    """The error in the API's body, `{"error": {"code", "message", "target"}}`, in one line; "" where there is none."""
    try:
        error = json.loads(response.body(ERROR_BYTES_MAX))["error"]
        words = [str(error[name])[:ERROR_CHARACTERS_MAX] for name in ("code", "message") if error.get(name)]
        target = f" (correlation id {str(error['target'])[:ERROR_CHARACTERS_MAX]})" if error.get("target") else ""
    except (SourceError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""
    return ": " + ": ".join(words) + target if words else target
