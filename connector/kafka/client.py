"""What all Kafka clients share: librdkafka's settings, log and events, deadlines, and its errors in our words.

A table maps Kafka's error codes to `SinkError`s and their hints. What to do about an error (repeat the call, drop the
producer, give up) is for the caller to decide.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException

from connector.config import event_hubs
from connector.errors import ConfigError, SinkError, SinkFenced, SinkRejected, SinkUnavailable
from connector.kafka.logins import TokenLogin
from connector.telemetry import logger

log = logger(__name__)

Client = TypeVar("Client")

LIBRDKAFKA_BYTES_MAX: Final = 1_000_000
"""librdkafka's own default of `message.max.bytes`; the broker's is a little larger."""

SHARED_DEFAULTS: Final[dict[str, Any]] = {"client.id": "mde-inventory-connector"}

PRODUCER_DEFAULTS: Final[dict[str, Any]] = {
    # The Java clients' partitioner: what Kafka Streams or ksqlDB join by device must be in the same partition.
    "partitioner": "murmur2_random",
    "linger.ms": 20,
    "queue.buffering.max.kbytes": 131_072,
}
"""Our settings where the user's table has none."""

CALL_SECONDS: Final = 2.0
"""How long one call into librdkafka may block, and so how long a signal waits at most. Then the call is made again."""
STOP_SECONDS: Final = 5.0
"""How long to go on waiting for Kafka once the process is to stop."""

FENCED_CODES: Final = frozenset(
    {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}  # noqa: SLF001 - its public name
)
"""Another instance took over, or the coordinator gave up our transaction, whatever the error's flags say."""

FENCED_HINT: Final = (
    "Only one instance may publish under a transactional id: stop the other one, or give this one its own"
    " kafka.transactional_id and topic_prefix."
)
TOPIC_HINT: Final = (
    "Create the topics with `mde-inventory setup` (with --replay-topic, also another target of replays), or have an"
    " administrator create them."
)
TOPIC_ACL_HINT: Final = (
    "Grant this client's principal Write and Describe on every topic, and Read on the checkpoints topic and the"
    " inventory topic. Confluent's roles: DeveloperWrite and DeveloperRead on the topics. Event Hubs: Data Sender and"
    " Data Receiver, or a policy with Send and Listen."
)
TRANSACTIONAL_ID_ACL_HINT: Final = (
    "Grant this client's principal Write and Describe on the transactional id, and for `replay` on all ids that begin"
    " with it. Confluent's role: DeveloperWrite on the transactional id."
)
CLUSTER_ACL_HINT: Final = (
    "Grant this client's principal IdempotentWrite on the cluster, and Create on the topics for `setup`. Confluent's"
    " roles: DeveloperWrite on the cluster, and DeveloperManage on the topics."
)
GROUP_ACL_HINT: Final = (
    "Grant this client's principal Read on the consumer group. Confluent's role: DeveloperRead on the group."
)
_PERMISSION_HINTS: Final = (TOPIC_ACL_HINT, TRANSACTIONAL_ID_ACL_HINT, CLUSTER_ACL_HINT, GROUP_ACL_HINT)
_LOGIN_HINT: Final = "Check security.protocol, sasl.* and ssl.* in [kafka.client]."
_SIZE_HINT: Final = "Raise the topic's max.message.bytes, and message.max.bytes in [kafka.client]."
_TRANSACTIONS_HINT: Final = (
    "This broker does not offer the transactions that are needed; if it never will (some Event Hubs tiers), set"
    ' kafka.delivery = "at_least_once".'
)
_SETTING_HINT: Final = "Check [kafka.client] and the topic's and the broker's settings."
AWAY_HINT: Final = "Check bootstrap.servers in [kafka.client], the network and the brokers."
AGAIN_HINT: Final = "Nothing is lost: the next poll publishes what is staged, beginning at Kafka's own checkpoint."

_REJECTED_BY_HINT: Final[dict[str, tuple[str, ...]]] = {
    TOPIC_HINT: (
        "UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "UNKNOWN_TOPIC_ID", "TOPIC_EXCEPTION",
    ),
    TOPIC_ACL_HINT: ("TOPIC_AUTHORIZATION_FAILED",),
    TRANSACTIONAL_ID_ACL_HINT: ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED",),
    CLUSTER_ACL_HINT: ("CLUSTER_AUTHORIZATION_FAILED", "DELEGATION_TOKEN_AUTHORIZATION_FAILED"),
    GROUP_ACL_HINT: ("GROUP_AUTHORIZATION_FAILED",),
    _LOGIN_HINT: (
        "_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE", "_SSL",
        "SECURITY_DISABLED", "UNACCEPTABLE_CREDENTIAL", "DELEGATION_TOKEN_EXPIRED", "DELEGATION_TOKEN_NOT_FOUND",
        "DELEGATION_TOKEN_AUTH_DISABLED", "DELEGATION_TOKEN_OWNER_MISMATCH", "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
    ),
    _SIZE_HINT: ("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_MSG_SIZE"),
    _TRANSACTIONS_HINT: (
        "INVALID_TRANSACTION_TIMEOUT", "UNSUPPORTED_VERSION", "_UNSUPPORTED_FEATURE", "UNSUPPORTED_FOR_MESSAGE_FORMAT",
        "_NOT_IMPLEMENTED", "_NOT_CONFIGURED",
    ),
    _SETTING_HINT: (
        "_INVALID_ARG", "INVALID_CONFIG", "INVALID_PARTITIONS", "INVALID_REPLICATION_FACTOR", "POLICY_VIOLATION",
        "INVALID_REPLICA_ASSIGNMENT", "INVALID_REQUEST", "INVALID_REQUIRED_ACKS", "INVALID_RECORD", "INVALID_TIMESTAMP",
        "INVALID_GROUP_ID", "UNSUPPORTED_COMPRESSION_TYPE", "_UNKNOWN_PROTOCOL", "_BAD_MSG", "_INVALID_TYPE",
        "_INVALID_DIFFERENT_RECORD",
    ),
}  # fmt: skip

REJECTED_HINTS: Final[dict[int, str]] = {
    getattr(KafkaError, name): hint for hint, names in _REJECTED_BY_HINT.items() for name in names
}
"""Codes that waiting does not cure, each with what to do. A code that is neither here nor fenced is an outage."""

IN_OUR_WORDS: Final[dict[int, str]] = {
    **{code: "no permission" for code, hint in REJECTED_HINTS.items() if hint in _PERMISSION_HINTS},
    **dict.fromkeys((KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC), "there is no such topic"),  # noqa: SLF001
}
"""Codes of which librdkafka's text says less, or something else each time."""

_NO_REASON_CODES: Final = frozenset(
    getattr(KafkaError, name)
    for name in ("_TIMED_OUT", "_MSG_TIMED_OUT", "_TIMED_OUT_QUEUE", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_INCONSISTENT")
)
"""They say that something did not happen; the reason is in an earlier event."""

_AWAY_CODES: Final = _NO_REASON_CODES | {
    getattr(KafkaError, name) for name in ("_RESOLVE", "BROKER_NOT_AVAILABLE", "NETWORK_EXCEPTION")
}

PURGED_CODES: Final = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})  # noqa: SLF001 - public names
"""A message given up along with its transaction; the transaction's own error has the reason."""


class ClientEvents:
    """What librdkafka's callbacks report: trouble with connections, and the first message refused.

    They may run while an exception is already being raised: they may store, and must call nothing.
    """

    def __init__(self) -> None:
        self._refused: tuple[KafkaError, Any] | None = None
        self._latest: KafkaError | None = None
        self._earlier: KafkaError | None = None

    @property
    def trouble(self) -> KafkaError | None:
        """The latest trouble that says more than that all brokers are down."""
        if self._latest is not None and self._latest.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - public name
            return self._earlier or self._latest
        return self._latest

    @property
    def refused(self) -> tuple[KafkaError, Any] | None:
        """The reason and the first message refused; None if it was only given up along with its transaction."""
        return None if self._refused is None or self._refused[0].code() in PURGED_CODES else self._refused

    def note_trouble(self, error: KafkaError) -> None:
        """The callback `error_cb`."""
        self._earlier = self._latest
        self._latest = error

    def note_refused(self, error: KafkaError | None, message: Any) -> None:  # noqa: ANN401 - librdkafka's message
        """The callback `on_delivery`, where librdkafka reports errors only."""
        if error is not None and (self._refused is None or self._refused[0].code() in PURGED_CODES):
            self._refused = (error, message)

    def forget(self) -> None:
        """Begin a new attempt, which earlier events do not explain."""
        self._latest = self._earlier = self._refused = None


class Deadline:
    """How long something may take; shorter once the process is to stop.

    Args:
        seconds: from now.
        stop: once it is set, at most `STOP_SECONDS` are left.
    """

    def __init__(self, seconds: float, stop: threading.Event | None = None) -> None:
        self.seconds = seconds
        self._stop = stop
        self._begun_at = time.time()
        self._ends = time.monotonic() + seconds

    def remaining(self, *, at_most: float = math.inf) -> float:
        """Seconds left, but no more than `at_most`; 0 once it has passed."""
        if self._stop is not None and self._stop.is_set():
            self._ends = min(self._ends, time.monotonic() + STOP_SECONDS)
        return min(max(self._ends - time.monotonic(), 0.0), at_most)

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return not self.remaining()

    @property
    def passed_by_any_clock(self) -> bool:
        """Whether no time is left, counting the time that the machine slept."""
        return self.passed or time.time() - self._begun_at >= self.seconds


class LibraryLog:
    """The logger that librdkafka's bindings write to. Its lines are for debugging only: errors carry the reasons."""

    @staticmethod
    def log(_level: int, pattern: str, *parts: object) -> None:
        """Log one line of librdkafka."""
        log.debug("Kafka's client library says", text=pattern % parts)


def merge_settings(client: Mapping[str, Any], events: ClientEvents, owned: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a librdkafka client: our defaults, then the user's table, then what nobody may override."""
    configured = {key: str(value).lower() if isinstance(value, bool) else value for key, value in client.items()}
    ours = {"statistics.interval.ms": 0, **owned, "error_cb": events.note_trouble, "logger": LibraryLog()}
    return {**SHARED_DEFAULTS, **event_hubs.defaults(client), **configured, **ours}


def create_client(kind: Callable[[dict[str, Any]], Client], settings: dict[str, Any]) -> Client:
    """A client of a kind, such as `Producer`.

    Raises:
        ConfigError: librdkafka does not know a key, or does not take its value.
        SinkUnavailable, SinkRejected: there is no token to log in with.
    """
    login = settings.get("oauth_cb")
    if isinstance(login, TokenLogin):
        login.prepare()
    try:
        return kind(settings)
    except KafkaException as error:
        raise ConfigError(
            f"kafka.client: {describe(error_of(error))}",
            hint="Keys and values are those of librdkafka's CONFIGURATION.md.",
        ) from error


_LOST: Final = "returned NULL without setting an exception"


def error_of(error: BaseException) -> KafkaError:
    """The Kafka error inside an exception; an exception without one is raised again.

    The bindings raise a fatal error out of whatever call is being made. If a callback raised it, it is the cause of a
    SystemError. If a second callback ran after that, the error is lost and the SystemError says only so: what happened
    at the cluster is for a recovery to find out.
    """
    if isinstance(error, SystemError) and error.__cause__ is None and _LOST in str(error):
        return KafkaError(KafkaError._FAIL)  # noqa: SLF001 - its public name
    if isinstance(error, SystemError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return error.args[0]
    raise error


def describe(error: KafkaError) -> str:
    """A Kafka error for people: librdkafka's text, or ours where it helps, and the code to search for."""
    text = error.str().removeprefix("Broker: ").removeprefix("Local: ")
    return f"{IN_OUR_WORDS.get(error.code(), text)} ({error.name()})"


def translate(error: KafkaError, doing: str, events: ClientEvents | None = None) -> SinkError:
    """A Kafka error as one of ours.

    Args:
        error: from an exception, a delivery report or a message.
        doing: what could not be done: `publishing`, `reading mde.software.checkpoints`.
        events: what was reported in the meantime; it may have the reason for a time-out.
    """
    code, text = error.code(), describe(error)
    trouble = events.trouble if events and code in _NO_REASON_CODES else None
    if trouble is not None:
        text += f"; before that: {describe(trouble)}"
        code = code if trouble.code() in _NO_REASON_CODES else trouble.code()
    message = f"Kafka: {doing}: {text}"
    if code in FENCED_CODES:
        return SinkFenced(message, hint=FENCED_HINT)
    if code in REJECTED_HINTS:
        return SinkRejected(message, hint=REJECTED_HINTS[code])
    return SinkUnavailable(message, hint=AWAY_HINT if code in _AWAY_CODES else AGAIN_HINT)
