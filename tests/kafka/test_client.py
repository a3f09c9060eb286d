"""Kafka's errors in our words, and the settings that librdkafka is given."""

from __future__ import annotations

import logging
from itertools import product

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from connector.config.values import OWNED_CLIENT_KEYS
from connector.errors import ConfigError, SinkFenced, SinkRejected, SinkUnavailable
from connector.kafka import sink
from connector.kafka.client import (
    FENCED_CODES,
    IN_OUR_WORDS,
    REJECTED_HINTS,
    ClientEvents,
    Deadline,
    create_client,
    error_of,
    merge_settings,
    translate,
)
from connector.kafka.reader import OWNED, Reader

CODES = {name: code for name in dir(KafkaError) if isinstance(code := getattr(KafkaError, name), int)}
"""Every code that librdkafka's bindings know, by name."""


def test_there_are_codes_to_walk() -> None:
    """The walk below is over all of librdkafka's codes, local ones and brokers'."""
    assert len(CODES) > 150
    assert {"_FENCED", "PRODUCER_FENCED", "_TIMED_OUT", "MSG_SIZE_TOO_LARGE"} <= CODES.keys()


@pytest.mark.parametrize("name", sorted(CODES))
def test_every_code_becomes_an_error_of_ours_with_a_hint(name: str) -> None:
    """Whatever the code and its flags, one of three errors comes of it, with what was being done and a hint."""
    code = CODES[name]
    wanted = SinkFenced if code in FENCED_CODES else SinkRejected if code in REJECTED_HINTS else SinkUnavailable
    for fatal, retriable, abort in product((False, True), repeat=3):
        error = translate(KafkaError(code, "why", fatal, retriable, abort), "publishing")
        assert type(error) is wanted
        assert str(error).startswith(f"Kafka: publishing: {IN_OUR_WORDS.get(code, 'why')} (")
        assert error.hint


@pytest.mark.parametrize("name", ["_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"])
def test_fenced_is_fenced_whatever_the_flags_say(name: str) -> None:
    """The three codes of a fenced producer end the process with exit code 4, even where they are called retriable."""
    for flags in product((False, True), repeat=3):
        assert type(translate(KafkaError(CODES[name], "why", *flags), "committing")) is SinkFenced
    assert SinkFenced.exit_code == 4


@pytest.mark.parametrize(
    ("name", "kind", "hint"),
    [
        ("UNKNOWN_TOPIC_OR_PART", SinkRejected, "mde-inventory setup"),
        ("TOPIC_AUTHORIZATION_FAILED", SinkRejected, "Grant this client's principal"),
        ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", SinkRejected, "Grant this client's principal"),
        ("SASL_AUTHENTICATION_FAILED", SinkRejected, "sasl.*"),
        ("MSG_SIZE_TOO_LARGE", SinkRejected, "max.message.bytes"),
        ("_UNSUPPORTED_FEATURE", SinkRejected, 'kafka.delivery = "at_least_once"'),
        ("INVALID_TRANSACTION_TIMEOUT", SinkRejected, "transactions"),
        ("_TIMED_OUT", SinkUnavailable, "bootstrap.servers"),
        ("NOT_ENOUGH_REPLICAS", SinkUnavailable, "Nothing is lost"),
        ("CONCURRENT_TRANSACTIONS", SinkUnavailable, "Nothing is lost"),
    ],
)
def test_what_a_person_can_mend_is_no_outage(name: str, kind: type, hint: str) -> None:
    """A refusal names what to change; an outage says that nothing is lost."""
    error = translate(KafkaError(CODES[name]), "publishing")
    assert type(error) is kind
    assert hint in error.hint


def test_a_time_out_is_explained_by_earlier_events() -> None:
    """A wrong password appears as a time-out: the error names the password, and is a refusal."""
    events = ClientEvents()
    events.note_trouble(KafkaError(KafkaError._AUTHENTICATION, "SASL authentication error: wrong password"))
    events.note_trouble(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    error = translate(KafkaError(KafkaError._TIMED_OUT), "connecting", events)
    assert type(error) is SinkRejected
    assert str(error) == (
        "Kafka: connecting: Timed out (_TIMED_OUT);"
        " before that: SASL authentication error: wrong password (_AUTHENTICATION)"
    )
    events.forget()
    assert type(translate(KafkaError(KafkaError._TIMED_OUT), "connecting", events)) is SinkUnavailable


def test_an_error_that_the_bindings_wrapped_is_found() -> None:
    """A fatal error raised while a callback ran comes as the cause of a SystemError; anything else stays what it is."""
    inside = KafkaException(KafkaError(KafkaError._FENCED))
    wrapped = SystemError("returned a result with an exception set")
    wrapped.__cause__ = inside
    assert error_of(wrapped).code() == KafkaError._FENCED
    assert error_of(inside).code() == KafkaError._FENCED
    with pytest.raises(ValueError, match="not ours"):
        error_of(ValueError("not ours"))
    with pytest.raises(SystemError, match="not theirs"):
        error_of(SystemError("not theirs"))


def test_an_error_that_the_bindings_lost_is_an_outage() -> None:
    """After two callbacks in one call only the failure is known: a recovery finds out what happened."""
    lost = SystemError("<method 'flush' of 'cimpl.Producer' objects> returned NULL without setting an exception")
    assert type(translate(error_of(lost), "publishing")) is SinkUnavailable


@pytest.mark.parametrize(
    ("client", "text"),
    [({"no.such.key": 1}, 'No such configuration property: "no.such.key"'), ({"linger.ms": "soon"}, "Invalid value")],
)
def test_settings_that_librdkafka_does_not_take_are_configuration_errors(client: dict[str, object], text: str) -> None:
    """An unknown key or a bad value is a ConfigError that names it."""
    with pytest.raises(ConfigError, match=text):
        create_client(Producer, merge_settings(client, ClientEvents(), {}))


def test_booleans_of_the_configuration_are_taken() -> None:
    """TOML's true and false reach librdkafka as it writes them."""
    settings = merge_settings({"socket.keepalive.enable": True, "enable.sparse.connections": False}, ClientEvents(), {})
    assert (settings["socket.keepalive.enable"], settings["enable.sparse.connections"]) == ("true", "false")
    create_client(Producer, settings)


def test_every_key_that_we_own_is_refused_in_the_configuration() -> None:
    """No setting is overridden silently: what producer and consumer own cannot be configured."""
    assert sink.OWNED.keys() | OWNED.keys() <= OWNED_CLIENT_KEYS


def test_no_secret_of_the_client_table_reaches_an_error_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """Even with librdkafka's own debugging on, the password is in neither the error nor what it logs."""
    caplog.set_level(logging.DEBUG)
    canary = "canary-9f2c"
    client = {
        "bootstrap.servers": "127.0.0.1:1",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "user",
        "sasl.password": canary,
        "debug": "all",
    }
    with pytest.raises(SinkUnavailable) as away, Reader(client) as reader:
        reader.partitions("any", Deadline(1))
    assert len(caplog.records) > 10
    assert canary not in "\n".join([str(away.value), away.value.hint, caplog.text])
