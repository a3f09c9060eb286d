"""What `setup` and `schema register` do: create topics and register schemas. Safe to rerun."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from connector.assembly import Assembly
from connector.kafka import schemas
from connector.kafka.registry import COMPATIBILITY, value_subject
from connector.model import Check, Topic
from connector.operations.check import NO_REGISTRY, failing_as_check, needs_registry, published_topics, subject_of


def set_up(assembly: Assembly) -> Iterator[Check]:
    """Create topics and register schemas; whatever exists is left as it is.

    A subject whose compatibility may not be set is registered all the same, and said to be so: it is for the registry's
    administrator to set.
    """
    yield from failing_as_check("kafka", assembly.topics.create)
    yield from register_schemas(assembly)


def set_up_replay_topic(assembly: Assembly, topic: str) -> Iterator[Check]:
    """Create another topic for replays to publish to, and register its schema."""
    yield assembly.topics.create_target(topic)
    if needs_registry(assembly):
        yield from _register(assembly, value_subject(topic), Topic.CHANGES)


def register_schemas(assembly: Assembly) -> Iterator[Check]:
    """Register the schema of every topic, with its compatibility."""
    if not needs_registry(assembly):
        yield NO_REGISTRY
        return
    for topic in published_topics(assembly):
        subject = subject_of(assembly, topic)
        yield from failing_as_check(subject, partial(_register, assembly, subject, topic))


def _register(assembly: Assembly, subject: str, topic: Topic) -> Iterator[Check]:
    schema_id, refusal = assembly.registry.register(subject, schemas.schema_of(topic))
    yield Check(
        subject,
        fine=True,
        text=f"registered with id {schema_id}, {COMPATIBILITY.value}"
        if refusal is None
        else f"registered with id {schema_id}, but not {COMPATIBILITY.value}: {refusal}",
    )
