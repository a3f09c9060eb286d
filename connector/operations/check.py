"""What `check` and `schema check` ask: whether everything that a poll needs is there.

The questions are asked in the order in which a poll needs their answers. An error of one question becomes a failed
check, and the remaining questions are asked all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from connector.assembly import Assembly
from connector.config import Config
from connector.config.loading import shared_file
from connector.errors import ConfigError, ConnectorError, SchemaUnknown, SourceDenied
from connector.exports.software import SOFTWARE
from connector.kafka import permissions, schemas
from connector.kafka.registry import value_subject
from connector.model import MISSING, Check, Topic
from connector.private_files import is_readable_by_all, is_writable_by_all
from connector.source.http.tokens import certificate_end, claims_of, describe_end, ends_soon, explain_denial
from connector.wording import counted

PERMISSIONS: Final = ("Software.Read.All", "Software.Read")
"""Application permission, and the delegated one that a device-code login gives. Source: the export's API page."""

HOUR_SECONDS: Final = 3600

EXAMPLE_ID: Final = "00000000-0000-0000-0000-000000000000"
"""What the example configuration has where each tenant's own ids belong."""

NO_REGISTRY: Final = Check("schemas", fine=True, text="values are JSON: no schema registry is needed")

DEVICE_PERMISSIONS: Final = ("Machine.Read.All", "Machine.ReadWrite.All", "Machine.Read", "Machine.ReadWrite")
"""The same for `source.device_facts`. Source: Microsoft's "List machines API" page."""


def check_everything(assembly: Assembly, file: Path) -> Iterator[Check]:
    """Check configuration, token, permission, API, state file, topics, transactional id and schemas.

    Args:
        assembly: the parts that the configuration describes.
        file: the configuration file.
    """
    config = assembly.config
    yield Check(
        "config", fine=True, text=f"tenant {config.source.tenant_id}, {config.source.auth}, {config.source.api_url}"
    )
    placeholders = list(check_placeholders(config))
    yield from placeholders
    yield from check_files(config, file)
    yield from check_interval(config)
    if not placeholders:
        yield from failing_as_check("certificate", lambda: check_certificate(config))
        yield from failing_as_check("token", lambda: _check_token(assembly))
        yield from failing_as_check("api", lambda: [Check("api", fine=True, text=assembly.source.probe())])
    yield from failing_as_check("state", lambda: [_check_state(assembly)])
    yield from failing_as_check("kafka", lambda: check_kafka(assembly))
    yield from check_schemas(assembly)


def check_placeholders(config: Config) -> Iterator[Check]:
    """A failed check for each id that is still the example's. There is no such tenant to ask for a token."""
    ids = {"tenant_id": config.source.tenant_id, "client_id": config.source.client_id}
    for key, value in ids.items():
        if value == EXAMPLE_ID:
            yield Check(
                "config",
                fine=False,
                text=f"source.{key} is the example's, {EXAMPLE_ID}",
                hint="Copy the tenant's and the application's id from the app registration's page in Microsoft Entra.",
                exit_code=ConfigError.exit_code,
            )


def check_interval(config: Config) -> Iterator[Check]:
    """Advice where polls are due more often than the API's published limits allow."""
    pages, interval = config.source.method == "json", config.poll.interval_seconds
    endpoint = SOFTWARE.feeds[0].pages if pages else SOFTWARE.feeds[0].files
    least = math.ceil(HOUR_SECONDS / endpoint.calls_an_hour)
    if interval < least:
        yield Check(
            "config",
            fine=True,
            text=f"poll.interval_seconds is {interval}, and the API allows {counted(endpoint.calls_an_hour, 'call')} an"
            " hour: polls beyond that wait",
            hint=f"Set it to {least} or more; Defender generates a new export every few hours.",
        )


def check_certificate(config: Config) -> Iterator[Check]:
    """When the client certificate ends, where there is one. One that ends soon works, and fails no check."""
    end = certificate_end(config.source)
    if end is not None:
        advice = "; renew it, and put the new one into the same file" if ends_soon(end) else ""
        yield Check("certificate", fine=True, text=f"{describe_end(end)}{advice}")


def check_files(config: Config, file: Path) -> Iterator[Check]:
    """What other users of the machine may do with the files of the configuration.

    Who can change one of them chooses which hosts are sent the token, and whom the connector trusts: that fails. A
    secret that they can read is a matter of the machine, and of advice.
    """
    source = config.source
    secret_files = [source.client_secret_file, source.certificate_path, source.certificate_password_file]
    secret_files = [Path(name) for name in secret_files if name]
    named = (
        *secret_files,
        source.federated_token_file,
        source.ca_bundle,
        *(value for key, value in config.kafka.client.items() if key.endswith(".location")),
        *(value for key, value in config.schema_registry.client.items() if key.endswith(".location")),
    )
    shared = shared_file(file)
    written = [file, shared] if shared else [file]
    secret_files += [path for path in written if _has_secrets(config, path)]
    for path in dict.fromkeys((*written, *(Path(str(name)) for name in named if name))):
        # One that is not there, or cannot be looked at, is reported by whoever reads it.
        with suppress(OSError, RuntimeError, ValueError):
            if is_writable_by_all(path):
                yield Check(
                    "config",
                    fine=False,
                    text=f"any user may change {path}",
                    hint="Take the right to write from others, on the file and its folder: chmod o-w.",
                    exit_code=ConfigError.exit_code,
                )
            elif path in secret_files and is_readable_by_all(path):
                yield Check(
                    "config",
                    fine=True,
                    text=f"any user may read {path}, which has a secret",
                    hint=f"Take the right to read from others: chmod o-r {path}.",
                )


def _has_secrets(config: Config, file: Path) -> bool:
    """Whether one of the configuration's secrets stands in the file itself, and in no file that it names."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return any(secret and secret in text for secret in config.secrets)


def check_kafka(assembly: Assembly) -> Iterator[Check]:
    """The cluster, the topics, and the transactional id, which a `run` that lives may have."""
    yield from assembly.topics.check()
    if assembly.config.kafka.delivery == "exactly_once":
        publisher = assembly.publisher_lock("check").other_holder()
        name, client = assembly.config.transactional_id, assembly.kafka_client
        yield permissions.check_transactional_id(client, name, publisher=str(publisher or ""))


def check_schemas(assembly: Assembly) -> Iterator[Check]:
    """Check for every topic that its schema is registered, and compatible with the registered versions.

    Registers nothing, whatever `schema_registry.auto_register` says.
    """
    if not needs_registry(assembly):
        yield NO_REGISTRY
        return
    for topic in published_topics(assembly):
        yield from failing_as_check(subject_of(assembly, topic), partial(_check_schema, assembly, topic), noun="schema")


def needs_registry(assembly: Assembly) -> bool:
    """Whether the schemas of what is published belong into a registry."""
    return assembly.config.kafka.value_format == "avro"


def published_topics(assembly: Assembly) -> list[Topic]:
    """The topics that this configuration publishes to."""
    return list(assembly.config.topics)


def subject_of(assembly: Assembly, topic: Topic) -> str:
    """The subject of a topic's values in the schema registry."""
    return value_subject(assembly.topic(topic))


def failing_as_check(name: str, question: Callable[[], Iterable[Check]], *, noun: str = "") -> Iterator[Check]:
    """The checks that a question gives; a `ConnectorError` becomes a failed check of that name.

    Args:
        name: of the failed check.
        question: is asked.
        noun: what the thing is called where several are asked for and fail for the same cause.
    """
    try:
        yield from question()
    except ConnectorError as error:
        cause = MISSING if isinstance(error, SchemaUnknown) else error.hint
        yield Check(
            name,
            fine=False,
            text=str(error),
            hint=error.hint,
            exit_code=error.exit_code,
            noun=noun,
            cause=cause if noun else "",
        )


def _check_token(assembly: Assembly) -> Iterator[Check]:
    token = assembly.tokens.token()
    claims = claims_of(token)
    granted = [*claims.roles, *claims.scopes]
    yield Check("token", fine=True, text=f"audience {claims.audience}, grants {', '.join(granted) or 'nothing'}")
    permitted = [name for name in PERMISSIONS if name in granted]
    yield Check(
        "permission",
        fine=bool(permitted),
        text=permitted[0] if permitted else f"the token does not grant {PERMISSIONS[0]}",
        hint="" if permitted else explain_denial(token, assembly.config.source.scope),
        exit_code=SourceDenied.exit_code,
    )
    if assembly.config.source.device_facts:
        yield _check_device_permission(granted)


def _check_device_permission(granted: Collection[str]) -> Check:
    permitted = [name for name in DEVICE_PERMISSIONS if name in granted]
    return Check(
        "permission",
        fine=bool(permitted),
        text=permitted[0]
        if permitted
        else f"the token does not grant {DEVICE_PERMISSIONS[0]}, which source.device_facts needs",
        hint=""
        if permitted
        else "Add it to the app registration (WindowsDefenderATP) and have an administrator consent, or turn"
        " source.device_facts off. Polls go on without it, and no removal gets the reason AGED_OUT.",
        exit_code=SourceDenied.exit_code,
    )


def _check_state(assembly: Assembly) -> Check:
    path = assembly.config.state.path
    if not path.exists():
        return Check("state", fine=True, text=f"{path} will be created by the first poll")
    with assembly.read_state() as state:
        position = state.journal.position()
    return Check(
        "state", fine=True, text=f"{path}: epoch {position.epoch}, {counted(position.pending, 'change')} pending"
    )


def _check_schema(assembly: Assembly, topic: Topic) -> Iterator[Check]:
    subject, schema = subject_of(assembly, topic), schemas.schema_of(topic)
    problems = assembly.registry.find_conflicts(subject, schema)
    if problems:
        hint = "A newer connector registered it: update this one."
        yield Check(subject, fine=False, text="; ".join(problems), hint=hint)
        return
    try:
        text = f"registered with id {assembly.registry.registered_id(subject, schema)}"
    except SchemaUnknown:
        if not assembly.registry.auto_register:
            raise
        text = "not registered; the first message registers it (schema_registry.auto_register)"
    yield Check(subject, fine=True, text=text)
