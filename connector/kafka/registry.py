"""The schema registry: looks up ids and schemas, and registers schemas with FULL_TRANSITIVE compatibility.

The subject of a topic follows TopicNameStrategy, always, because the consumers that feed the SIEMs find a schema by the
name `<topic>-value`.

`mock://NAME` is a registry inside the process, shared by all who name it; it registers anything and checks nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Final, NamedTuple, Self

from confluent_kafka.schema_registry import (
    ConfigCompatibilityLevel,
    Schema,
    SchemaRegistryClient,
    SchemaRegistryError,
    ServerConfig,
)
from confluent_kafka.schema_registry.error import OAuthTokenError

from connector.config.tables import SchemaRegistryConfig
from connector.errors import (
    ConfigError,
    ConnectorError,
    EncodingError,
    RegistryUnavailable,
    SchemaUnknown,
    SinkRejected,
)
from connector.telemetry import logger

log = logger(__name__)

COMPATIBILITY: Final = ConfigCompatibilityLevel.FULL_TRANSITIVE
"""Every version reads every other, in both directions: consumers and connectors can be upgraded in any order."""

CLIENT_DEFAULTS: Final = {"timeout": 10, "max.retries": 2, "retries.wait.ms": 200, "retries.max.wait.ms": 2000}
"""By itself the client would wait forever; with these it waits 35 seconds at most per URL. `timeout` is in seconds."""

NUMBER_KEYS: Final = frozenset({*CLIENT_DEFAULTS, "cache.capacity", "cache.latest.ttl.sec"})
"""Keys whose values the client wants as numbers; environment variables are text."""

SETUP_HINT: Final = (
    "Run `mde-inventory setup` once; it registers the schemas, with --replay-topic also that of another target of"
    " replays."
)
UNREACHABLE_HINT: Final = "Check schema_registry.url, the network and the registry. What is staged is published later."
DENIED_HINT: Final = (
    "Check basic.auth.user.info, bearer.auth.* or ssl.* in [schema_registry], and what the registry grants that user."
)
ADDRESS_HINT: Final = (
    "Is schema_registry.url the address of a registry with Confluent's API? Apicurio's ends in /apis/ccompat/v7."
)
INCOMPATIBLE_HINT: Final = (
    "If a newer connector registered it, update this one; if another program did, choose another kafka.topic_prefix."
)

NOT_FOUND, CONFLICT, NOT_IMPLEMENTED = 404, 409, 501
DENIED: Final = frozenset({401, 403, 407})
PASSING: Final = frozenset({408, 429})
SERVER_ERROR: Final = 500
ID_MAX: Final = 2**32
REASON_CHARACTERS_MAX: Final = 500
NO_SUCH_SUBJECT_OR_SCHEMA: Final = frozenset({40400, 40401, 40402, 40403})
"""The registry's own error codes with a 404; without one of them the address is wrong. 40400 is the mock's."""


def value_subject(topic: str) -> str:
    """The subject of a topic's values: TopicNameStrategy."""
    return f"{topic}-value"


class Registration(NamedTuple):
    """A registered schema.

    Attributes:
        schema_id: its id.
        refusal: why the registry did not let the compatibility be set; None where it is set.
    """

    schema_id: int
    refusal: ConnectorError | None


class Registry:
    """A schema registry. Close it, or use it as a context manager.

    Attributes:
        auto_register: whether the first use of an unknown schema registers it.

    Raises:
        ConfigError: the client does not take `[schema_registry]`.
    """

    def __init__(self, config: SchemaRegistryConfig) -> None:
        self._url = config.url
        self.auto_register = config.auto_register
        self._mock = config.url.startswith("mock://")
        self._client = _mock_client(config.url) if self._mock else _create_client(config.url, config.client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a mock goes on."""
        if not self._mock:
            self._client.close()

    def schema_id(self, subject: str, schema: str) -> int:
        """The id of a schema (its JSON text). With `auto_register`, an unknown schema is registered first.

        Raises:
            EncodingError: it is not registered, or what is registered is incompatible.
            RegistryUnavailable: no answer within the client's time limits.
            SinkRejected: the registry denies access.
        """
        try:
            return self.registered_id(subject, schema)
        except SchemaUnknown:
            if not self.auto_register:
                raise
        return self.register(subject, schema).schema_id

    def registered_id(self, subject: str, schema: str) -> int:
        """The id of a registered schema, as the registry gives it now. Registers nothing.

        Raises:
            SchemaUnknown: it is not registered.
            EncodingError, RegistryUnavailable, SinkRejected: as `schema_id`.
        """
        with self._translate_errors(f"looking up the schema of {subject}"):
            if not self._mock:
                # The client would go on giving the first answer.
                self._client.clear_caches()  # type: ignore[no-untyped-call]  # it has none
            return _check_id(self._client.lookup_schema(subject, _avro_schema(schema)).schema_id)

    def schema(self, schema_id: int) -> str:
        """The JSON text of the Avro schema with this id.

        Raises:
            EncodingError: there is none, or it is not Avro.
            RegistryUnavailable, SinkRejected: as `schema_id`.
        """
        with self._translate_errors(f"fetching schema {schema_id}"):
            schema = self._client.get_schema(schema_id)
            if schema.schema_type not in (None, "AVRO"):
                raise EncodingError(f"schema {schema_id} is {schema.schema_type}, not AVRO", hint=ADDRESS_HINT)
            return str(schema.schema_str)

    def register(self, subject: str, schema: str) -> Registration:
        """Register a schema, with its compatibility. Registering it again changes nothing.

        A registry that does not let this client set the compatibility may let it register nevertheless.

        Raises:
            EncodingError: it is not compatible with what is registered, or not accepted.
            RegistryUnavailable, SinkRejected: as `schema_id`.
        """
        refusal = None
        try:
            self.set_compatibility(subject)
        except (SinkRejected, EncodingError) as error:
            refusal = None if self._is_compatibility_set(subject) else error
        with self._translate_errors(f"registering the schema of {subject}"):
            schema_id = _check_id(self._client.register_schema(subject, _avro_schema(schema)))
        if refusal is not None:
            log.warning("the compatibility of a subject is not set", error=str(refusal), hint=refusal.hint)
        log.info("schema registered", subject=subject, schema_id=schema_id)
        return Registration(schema_id, refusal)

    def set_compatibility(self, subject: str) -> None:
        """Make the registry refuse a version of a subject that cannot read all others, or be read by them.

        Raises:
            EncodingError, RegistryUnavailable, SinkRejected: as `schema_id`.
        """
        doing = f"setting the compatibility of {subject}"
        with self._translate_errors(doing):
            try:
                self._client.set_config(subject, ServerConfig(compatibility=COMPATIBILITY))
            except SchemaRegistryError as error:
                if error.http_status_code not in (CONFLICT, NOT_IMPLEMENTED):
                    raise
                raise EncodingError(f"{doing}: the schema registry refuses (HTTP {error.http_status_code})") from error

    def _is_compatibility_set(self, subject: str) -> bool:
        """Whether somebody else has set the compatibility, of the subject or of the whole registry."""
        for name in (subject, None):
            with suppress(ConnectorError), self._translate_errors("reading the compatibility"):
                return bool(self._client.get_compatibility(name) == COMPATIBILITY.value)
        return False

    def find_conflicts(self, subject: str, schema: str) -> list[str]:
        """Why a schema cannot be the next version of a subject; empty if it can, or if the subject is new.

        Raises:
            EncodingError, RegistryUnavailable, SinkRejected: as `schema_id`.
        """
        if self._mock:
            return []
        with self._translate_errors(f"comparing the schema of {subject}"):
            try:
                fits = self._client.test_compatibility_all_versions(subject, _avro_schema(schema))
            except SchemaRegistryError as error:
                if not _unknown(error):
                    raise
                return []
        return [] if fits else [f"{subject}: a registered version and this connector's cannot read each other"]

    @contextmanager
    def _translate_errors(self, doing: str) -> Iterator[None]:
        """Translate whatever the client raises into our errors."""
        try:
            yield
        except ConnectorError:
            raise
        except SchemaRegistryError as error:
            raise _refusal(error, doing, self._url) from error
        except OAuthTokenError as error:
            # Its text may repeat what the token endpoint answered.
            raise RegistryUnavailable(f"{doing}: no token for the schema registry", hint=DENIED_HINT) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EncodingError(f"{doing}: {self._url} does not answer as a registry", hint=ADDRESS_HINT) from error
        except Exception as error:
            # The client passes on what its HTTP library raises, and which library that is depends on its version.
            raise RegistryUnavailable(
                f"{doing}: the schema registry at {self._url} cannot be reached: {type(error).__name__}: {error}",
                hint=UNREACHABLE_HINT,
            ) from error


def _refusal(error: SchemaRegistryError, doing: str, url: str) -> ConnectorError:
    """The error for an answer that is not 2xx."""
    status, text = error.http_status_code, str(error.error_message or "no reason given")[:REASON_CHARACTERS_MAX]
    if status in DENIED:
        return SinkRejected(f"{doing}: the schema registry denies access (HTTP {status})", hint=DENIED_HINT)
    if status in PASSING or status >= SERVER_ERROR:
        return RegistryUnavailable(f"{doing}: the schema registry fails (HTTP {status}): {text}", hint=UNREACHABLE_HINT)
    if _unknown(error):
        return SchemaUnknown(f"{doing}: {text}", hint=SETUP_HINT)
    if status == CONFLICT:
        return EncodingError(f"{doing}: incompatible with what is registered: {text}", hint=INCOMPATIBLE_HINT)
    return EncodingError(f"{doing}: {url} answers HTTP {status}: {text}", hint=ADDRESS_HINT)


def _unknown(error: SchemaRegistryError) -> bool:
    """Whether the registry says that it has no such subject or schema."""
    return error.http_status_code == NOT_FOUND and error.error_code in NO_SUCH_SUBJECT_OR_SCHEMA


def _check_id(schema_id: int | None) -> int:
    """An id that the wire format can carry: four bytes."""
    if not isinstance(schema_id, int) or not 0 <= schema_id < ID_MAX:
        raise ValueError("no id of a schema")
    return schema_id


def _avro_schema(schema: str) -> Schema:
    return Schema(schema, "AVRO")


def _create_client(url: str, options: Mapping[str, Any]) -> SchemaRegistryClient:
    if not isinstance(options.get("ssl.ca.location", ""), str):
        raise ConfigError("schema_registry.ssl.ca.location: must be the path of a file or folder")
    try:
        numbers = {key: float(value) for key, value in options.items() if key in NUMBER_KEYS}
        return SchemaRegistryClient.new_client({**CLIENT_DEFAULTS, **options, **numbers, "url": url})
    except ImportError as error:
        # Its HTTP library opens every proxy of the environment at once, whatever NO_PROXY says of this host.
        raise ConfigError(
            "schema_registry: ALL_PROXY, HTTP_PROXY or HTTPS_PROXY names a SOCKS proxy, which is not supported",
            hint="Name an HTTP proxy, or start the connector without that variable; NO_PROXY=* turns all proxies off.",
        ) from error
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(
            f"schema_registry: {error}", hint="Its keys are those of confluent-kafka's SchemaRegistryClient."
        ) from error


@cache
def _mock_client(url: str) -> SchemaRegistryClient:
    return SchemaRegistryClient.new_client({"url": url})
