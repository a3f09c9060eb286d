"""One call to the export API: within the limits, with a token, tried again within bounds, its errors told apart.

Owns what a status means. Must not know what an answer is for: the caller reads the body.

    200            the answer, if the caller can read it; else tried again
    401            the token is renewed once
    403            SourceDenied, explained by the token's claims
    404, 408, 5xx  tried again with back-off
    429            waits as long as it is told to, or until the window passes; SourceThrottled where that is too long
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
from connector.source.http.hosts import Link
from connector.source.http.rate_limits import MINUTE_SECONDS, Endpoint, Limiter
from connector.source.http.tokens import Tokens, explain_denial
from connector.source.http.transport import Answer, Transport
from connector.source.progress import Tally
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
        backoff: between attempts.
        wait_seconds_max: how long a call may wait for the limits, all its attempts together.
    """

    backoff: Backoff = field(default_factory=Backoff)
    wait_seconds_max: float = 600.0


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked: which endpoint's limits it counts against, where, and how much may come in what time."""

    endpoint: Endpoint
    link: Link
    bytes_max: int
    seconds_max: float


class Api:
    """The export API of one tenant.

    Args:
        scope: what tokens are for, to explain a denial.
        tokens: shown to the API's own host only.
        transport: makes the requests.
        limiter: remembers them.
        timer: clocks and waits.
        tally: told what came.
        patience: bounds.
    """

    def __init__(
        self,
        scope: str,
        *,
        tokens: Tokens,
        transport: Transport,
        limiter: Limiter,
        timer: Timer,
        tally: Tally,
        patience: Patience,
    ) -> None:
        self._scope = scope
        self._tokens = tokens
        self._transport = transport
        self._limiter = limiter
        self._timer = timer
        self._tally = tally
        self._patience = patience

    def ask(self, call: Call, read: Callable[[bytearray], T]) -> T:
        """Make a call and read its answer.

        Args:
            call: what is asked.
            read: reads the body; a SourceMalformed of it counts as an answer cut on the way, and the call is repeated.

        Raises:
            SourceDenied: no token, or not for this.
            SourceThrottled: the limits ask for a longer wait than a poll has.
            SourceUnavailable: every attempt failed.
            SourceMalformed: every answer was unreadable, or a status that no attempt will change.
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
                if failures >= self._patience.backoff.attempts_max or not failed.passes:
                    raise failed.error from failed.error.__cause__
                self._rest(call, failed, failures)

    def _attempt(self, call: Call, headers: dict[str, str], read: Callable[[bytearray], T]) -> T:
        try:
            with self._transport.get(call.link, headers, seconds_max=call.seconds_max, stop=self._timer.stop) as answer:
                if answer.status == OK:
                    return read(answer.body(call.bytes_max, self._tally.received))
                asked_seconds = retry_after(answer.headers.get("retry-after"), self._timer.now())
                raise _FailedError(self._failure(call, answer), asked_seconds)
        except SourceUnreachable as error:
            # That no connection was made matters for the file storage only, which `files` asks itself.
            unavailable = SourceUnavailable(str(error), hint=error.hint)
            unavailable.__cause__ = error
            raise _FailedError(unavailable) from error
        except (SourceUnavailable, SourceMalformed) as error:
            raise _FailedError(error, passes=True) from error

    def _rest(self, call: Call, failed: _FailedError, failures: int) -> None:
        """Wait before the next attempt; a throttled one waits for the limiter, and so does the next poll."""
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
            "a call failed and is repeated",
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

    def _failure(self, call: Call, answer: Answer) -> SourceError:
        """What an answer other than 200 means."""
        said = _said(answer)
        what = f"{call.endpoint.path} answers {answer.status}{said}"
        if answer.status == UNAUTHORIZED:
            hint = explain_denial(self._tokens.token(), self._scope) if call.link.is_api else ""
            return _TokenExpired(
                what, hint=hint or "Tokens are shown to the API's own host only: check source.api_url."
            )
        if answer.status == FORBIDDEN:
            return SourceDenied(what, hint=explain_denial(self._tokens.token(), self._scope))
        if answer.status == TOO_MANY:
            return SourceThrottled(
                what, hint="The limits count per application and tenant: does another tool use the same one?"
            )
        if answer.status == NOT_FOUND:
            return SourceUnavailable(what, hint="Check source.api_url.")
        if answer.status in (NO_CONTENT, TIMED_OUT) or answer.status >= BROKEN:
            return SourceUnavailable(what, hint="The service has trouble. The next poll tries again.")
        return SourceMalformed(what, hint="Check source.api_url. Is a proxy between that changes answers?")


class _TokenExpired(SourceDenied):
    """401: the one denial that a new token may cure."""


class _FailedError(Exception):
    """An attempt that failed; never leaves this module.

    Attributes:
        error: what to raise if it is not repeated.
        asked_seconds: what `Retry-After` said.
        passes: whether another attempt may go better.
    """

    def __init__(self, error: SourceError, asked_seconds: float | None = None, *, passes: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.asked_seconds = asked_seconds
        self.passes = passes or isinstance(error, SourceUnavailable | SourceThrottled)


def _said(answer: Answer) -> str:
    """The error that the API writes into its body, `{"error": {"code", "message", "target"}}`, in one line."""
    try:
        error = json.loads(answer.body(ERROR_BYTES_MAX))["error"]
        words = [str(error[name])[:ERROR_CHARACTERS_MAX] for name in ("code", "message") if error.get(name)]
        target = f" (correlation id {str(error['target'])[:ERROR_CHARACTERS_MAX]})" if error.get("target") else ""
    except (SourceError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""
    return ": " + ": ".join(words) + target if words else target
