"""The errors a user can see. Every seam turns its library's exceptions into one of these, with `raise … from`.

    ConnectorError
    ├── ConfigError               exit 2   the configuration, all problems at once
    ├── SourceError               exit 1   the export API
    │   ├── SourceUnavailable     exit 1   network, time-outs, 5xx after all retries
    │   │   └── SourceUnreachable exit 1   no connection at all: name, network, proxy or TLS
    │   ├── SourceThrottled       exit 1   429, or a published limit would be exceeded
    │   ├── SourceDenied          exit 5   no token, wrong audience, missing permission
    │   └── SourceMalformed       exit 1   an undocumented response
    ├── SnapshotError             exit 1   the snapshot cannot be trusted
    │   └── SnapshotIncomplete    exit 1   a part is missing, short, empty or corrupt; the generation changed
    ├── StateError                exit 1   the state file
    │   ├── StateLocked           exit 1   another process has it open
    │   ├── StateCorrupt          exit 1   not a state file of ours, or damaged
    │   ├── StateVersionUnknown   exit 1   written by a newer version
    │   ├── HoldChanged           exit 1   a decision about something else than is held by now
    │   ├── StateFull             exit 1   `state.max_pending` reached, or the disk is full
    │   ├── StateBehindCheckpoint exit 1   Kafka is ahead of the file: an old copy, or the file is missing
    │   └── CheckpointLost        exit 1   the file is ahead of Kafka: topic deleted, or another transactional id
    ├── EncodingError             exit 1   a value that the schema cannot hold, or the schema registry
    │   └── SchemaUnknown         exit 1   the schema registry does not have the schema
    ├── SinkError                 exit 1   Kafka
    │   ├── SinkUnavailable       exit 1   brokers unavailable or too slow; staged changes are kept
    │   │   └── RegistryUnavailable exit 1 the schema registry unavailable or too slow; staged changes are kept
    │   ├── SinkFenced            exit 4   another instance with the same transactional id took over
    │   └── SinkRejected          exit 1   Kafka refuses: authorisation, missing topic, too large, no transactions
    ├── OutputError               exit 1   stdout cannot be written: closed, or its disk is full
    │   └── ReaderLeft            exit 1   whoever read it has ended
    ├── ProgramFault              exit 1   an exception that nothing expected: a bug of the connector
    └── Stopped                   exit 0   `run` was asked to stop, and left a poll between two steps; a verb that a
                                           signal interrupts exits with 129, 130 or 143

A class exists only where a caller treats it differently. Only `service` catches; only `cli` exits.
"""

from __future__ import annotations

import traceback
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Final


class ConnectorError(Exception):
    """Root of all errors. `hint` says what to do; `retryable` whether simply trying again may help.

    `generated_at` is the generation that was being fetched, if it was known by then.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    generated_at: datetime | None = None

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(ConnectorError):
    """The configuration is wrong; the message lists every problem with key, value and what is allowed."""

    exit_code = 2


class SourceError(ConnectorError):
    """The export API did not return what was requested."""


class SourceUnavailable(SourceError):
    """The network or the service failed, after all retries."""

    retryable = True


class SourceUnreachable(SourceUnavailable):
    """No connection could be made: the name, the network, a proxy or TLS."""


class SourceThrottled(SourceError):
    """The rate limits allow no call within the time that a poll may wait."""

    retryable = True


class SourceDenied(SourceError):
    """No token, the wrong audience, or a missing permission."""

    exit_code = 5


class SourceMalformed(SourceError):
    """The API returned an undocumented response."""

    retryable = True


class SnapshotError(ConnectorError):
    """A snapshot cannot be trusted; nothing of it was staged."""

    retryable = True


class SnapshotIncomplete(SnapshotError):
    """A part is missing, short, empty or corrupt, or the generation changed during the fetch."""


class StateError(ConnectorError):
    """The state file cannot be used."""


class StateLocked(StateError):
    """Another process has the state file open."""

    retryable = True


class StateCorrupt(StateError):
    """The file is damaged, or not a state file of this connector."""


class StateVersionUnknown(StateError):
    """The file was written by a newer version of the connector."""


class HoldChanged(StateError):
    """What is held is not what the person looked at who decides; nothing was decided."""


class StateFull(StateError):
    """The backlog reached `state.max_pending`, the disk is full, or memory that tenants share did not come free."""

    retryable = True


class StateBehindCheckpoint(StateError):
    """Kafka's checkpoint is ahead of the state file, which is an old copy, or missing."""


class CheckpointLost(StateError):
    """The state file is ahead of Kafka's checkpoint: more is published according to the file."""


class EncodingError(ConnectorError):
    """A value does not fit its schema, or the schema registry does not do what it is asked to."""


class SchemaUnknown(EncodingError):
    """The schema registry does not have the schema."""


class SinkError(ConnectorError):
    """Kafka did not take what was published."""


class SinkUnavailable(SinkError):
    """Brokers are unavailable or too slow; staged changes are kept."""

    retryable = True


class RegistryUnavailable(SinkUnavailable):
    """The schema registry is unavailable or too slow; staged changes are kept."""


class SinkFenced(SinkError):
    """Another instance with the same transactional id took over."""

    exit_code = 4


class SinkRejected(SinkError):
    """Kafka refuses: authorisation, a missing topic, a message too large, no transactions."""


class OutputError(ConnectorError):
    """What a verb prints cannot be written to stdout."""


class ReaderLeft(OutputError):
    """Whoever read stdout has ended, as `head` does once it has its lines."""


class ProgramFault(ConnectorError):
    """An exception that nothing expected, named by its type and place."""


class Stopped(ConnectorError):
    """The process was asked to stop, and a poll ended between two calls or batches. Nothing is wrong."""

    exit_code = 0


OUTAGES: Final = (SinkUnavailable, SinkRejected, EncodingError)
"""Errors that stop publishing, but neither fetching nor staging."""

_PACKAGE: Final = Path(__file__).parent
_BUG_HINT: Final = (
    "This is a bug: please open an issue in the connector's repository, with this text and the traceback that"
    " --log-level debug shows."
)
_MEMORY_HINT: Final = "Give the process more memory, or lower state.memory_limit_mib and source.page_size."


def fault_of(error: Exception) -> ProgramFault:
    """An exception that nothing expected as one of ours, with its type, its text and its last place in this package."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _PACKAGE in Path(frame.filename).parents]
    place = f" in {Path(frames[-1].filename).relative_to(_PACKAGE.parent)}:{frames[-1].lineno}" if frames else ""
    if isinstance(error, MemoryError):
        fault = ProgramFault(f"not enough memory{place}", hint=_MEMORY_HINT)
    else:
        fault = ProgramFault(f"unexpected {type(error).__name__}{place}: {error}".rstrip(": "), hint=_BUG_HINT)
    fault.__cause__ = error
    return fault
