"""Kafka's checkpoint, read without taking over: an instance that publishes is not fenced."""

from __future__ import annotations

from typing import Final

from connector.assembly import Assembly
from connector.kafka.client import Deadline
from connector.kafka.sink import last_checkpoint
from connector.model import Checkpoint, Topic

CHECKPOINT_SECONDS: Final = 20.0
"""How long a verb waits for Kafka's checkpoint; the state file stays open as long."""


def read_checkpoint(assembly: Assembly) -> Checkpoint | None:
    """Kafka's last checkpoint; None where there is none.

    Raises:
        SinkError, EncodingError: Kafka does not answer, or the checkpoint cannot be decoded.
    """
    value = last_checkpoint(
        assembly.reader(),
        assembly.topic(Topic.CHECKPOINTS),
        assembly.config.transactional_id,
        Deadline(min(CHECKPOINT_SECONDS, assembly.kafka_seconds_max)),
    )
    return None if value is None else assembly.messages.decode_checkpoint(value)
