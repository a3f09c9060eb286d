"""What `check`, `setup`, `schema` and `status` find out: one finding a line, with what to do about it.

Owns which questions are asked, in which order; the parts of `assembly` answer them. An error of one question is its
finding, and the others are asked all the same. Must not print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, Final

from connector.assembly import Assembly
from connector.clock import moment_of
from connector.errors import ConnectorError, EncodingError, SinkError, SourceDenied
from connector.kafka import schemas
from connector.kafka.client import Deadline
from connector.kafka.registry import value_subject
from connector.kafka.sink import last_checkpoint
from connector.model import Check, Inventory, Topic
from connector.poll import reports
from connector.source.http.tokens import claims_of, explain_denial
from connector.staging import audit
from connector.staging.inventory_topic import Mirror
from connector.state.reconcile import Standing
from connector.state.state import StateFile

SNAPSHOTS_SHOWN: Final = 10
CHECKPOINT_SECONDS: Final = 20.0
"""How long `state verify` waits for Kafka's checkpoint; the state file stays open as long."""
DIFFERS_HINT: Final = (
    "Move the file away. Then restore a copy, or rebuild it from Kafka with `mde-inventory state rebuild`."
)
PERMISSIONS: Final = ("Software.Read.All", "Software.Read")
"""Application permission, and the delegated one that a device-code login gives. Source: the export's API page."""


def checks(assembly: Assembly) -> Iterator[Check]:
    """Everything a poll needs, in the order it needs it."""
    config = assembly.config
    yield Check(
        "config", fine=True, text=f"tenant {config.source.tenant_id}, {config.source.auth}, {config.source.api_url}"
    )
    yield from _asked("token", lambda: _token(assembly))
    yield from _asked("api", lambda: [Check("api", fine=True, text=assembly.source.probe())])
    yield from _asked("state", lambda: [_state(assembly)])
    yield from _asked("kafka", assembly.topics.check)
    yield from check_schemas(assembly)


def set_up(assembly: Assembly) -> Iterator[Check]:
    """Create topics and register schemas; what is there already is left as it is."""
    yield from _asked("kafka", assembly.topics.create)
    yield from register_schemas(assembly)


def set_up_target(assembly: Assembly, topic: str) -> Iterator[Check]:
    """Create another topic for replays to publish to, and register its schema."""
    yield assembly.topics.create_target(topic)
    subject = value_subject(topic)
    schema_id = assembly.registry.register(subject, schemas.schema_of(Topic.CHANGES))
    yield Check(subject, fine=True, text=f"registered with id {schema_id}, FULL_TRANSITIVE")


def register_schemas(assembly: Assembly) -> Iterator[Check]:
    """Register the schema of every topic, with its compatibility."""
    for topic in published_topics(assembly):
        yield from _asked(_subject(assembly, topic), partial(_register, assembly, topic))


def check_schemas(assembly: Assembly) -> Iterator[Check]:
    """Whether the schema of every topic is registered, and compatible with what is."""
    for topic in published_topics(assembly):
        yield from _asked(_subject(assembly, topic), partial(_check_schema, assembly, topic))


def published_topics(assembly: Assembly) -> list[Topic]:
    """The topics that this configuration publishes to."""
    return [topic for topic in Topic if topic is not Topic.INVENTORY or assembly.config.kafka.inventory_topic]


def status(assembly: Assembly, state: StateFile, *, at: datetime) -> dict[str, Any]:
    """What `status --json` prints: position, backlog, last snapshots, held removals, age of the data in seconds."""
    position = state.journal.position()
    latest = {inventory: state.journal.latest_snapshot(inventory) for inventory in assembly.inventories}
    return {
        "state": str(assembly.config.state.path),
        "tenant_id": state.journal.tenant_id(),
        "epoch": position.epoch,
        "last_sequence": position.last_sequence,
        "published_sequence": position.published_sequence,
        "pending": position.pending,
        "inventory": sum(state.journal.inventory_count(inventory) for inventory in assembly.inventories),
        "age_seconds": {
            inventory.value: round((at - snapshot.observed_at).total_seconds())
            for inventory, snapshot in latest.items()
            if snapshot
        },
        "stale": [
            inventory.value
            for inventory, snapshot in latest.items()
            if snapshot and reports.is_stale(snapshot, stale_after=assembly.stale_after, at=at)
        ],
        "inventory_topic": _inventory_topic(Mirror(state.database)) if assembly.config.kafka.inventory_topic else None,
        "held": held(state),
        "snapshots": [
            {
                "snapshot_id": snapshot.snapshot_id,
                "inventory": snapshot.inventory.value,
                "epoch": snapshot.epoch,
                "baseline": snapshot.baseline,
                "records": snapshot.counts.records,
                "devices": snapshot.counts.devices,
                "added": snapshot.counts.added,
                "removed": snapshot.counts.removed,
                "changed": snapshot.counts.changed,
                "alerts": snapshot.counts.alerts,
                "held": snapshot.counts.held,
                "duplicates": snapshot.counts.duplicates,
                "rejected": snapshot.counts.rejected,
                "method": snapshot.method,
                "generated_at": snapshot.observed_at.isoformat(),
                "staged_at": moment_of(snapshot.staged_at).isoformat(),
                "sealed": snapshot.snapshot_no <= position.published_snapshot,
            }
            for snapshot in state.journal.recent_snapshots(SNAPSHOTS_SHOWN)
        ],
    }


def verify(assembly: Assembly, state: StateFile, *, offline: bool) -> Iterator[Check]:
    """What `state verify` finds: in the file by itself, and, unless `offline`, beside Kafka's checkpoint.

    Kafka is only read: an instance that publishes is not fenced. The file stays open meanwhile, so that no poll moves
    one of the two.
    """
    problems = audit.verify(state)
    yield from (Check("state", fine=False, text=problem, hint=DIFFERS_HINT) for problem in problems)
    if not problems:
        more = "; Kafka was not asked" if offline else ""
        yield Check("state", fine=True, text=f"counts, keys and digests are as stored{more}")
    if not offline:
        yield from _asked("kafka", lambda: [_beside_kafka(assembly, state)])


def rebaseline_notice(assembly: Assembly) -> str:
    """What a new epoch means, with this file's figures and this configuration's baseline."""
    records, pending, held_records = 0, 0, 0
    if assembly.config.state.path.exists():
        with assembly.open_state() as state:
            records = sum(state.journal.inventory_count(inventory) for inventory in Inventory)
            pending, held_records = state.journal.position().pending, state.journal.held_count()
    published = (
        "every record of it is published as BASELINE"
        if assembly.rules.emit_baseline
        else 'nothing of it is published (diff.baseline = "silent")'
    )
    return (
        f"A new epoch forgets the stored inventory ({records:,} records), {pending:,} pending changes, which are never"
        f" published, and {held_records:,} held removals. The next poll takes its snapshot as the baseline:"
        f" {published}, and whatever was added, removed or changed between the last snapshot and that one is no change."
        " Consumers see the epoch go up and sequence begin at 1 again: they should forget what they folded from earlier"
        " epochs and take the baseline as the whole. Earlier changes stay on the topics and in the journal."
    )


def held(state: StateFile) -> list[dict[str, Any]]:
    """What `held list --json` prints: a row for each inventory, reason and snapshot since which it is held."""
    return [
        {
            "inventory": hold.inventory.value,
            "reason": hold.reason,
            "records": hold.records,
            "devices": hold.devices,
            "share": round(hold.share, 4),
            "since_snapshot_id": hold.since_snapshot_id,
            "since": moment_of(hold.since).isoformat(),
        }
        for hold in state.journal.holds()
    ]


def _beside_kafka(assembly: Assembly, state: StateFile) -> Check:
    """The checkpoint beside the file. Raises what the table of checkpoint and file says that stops."""
    try:
        value = last_checkpoint(
            assembly.reader(),
            assembly.topic(Topic.CHECKPOINTS),
            assembly.config.transactional_id,
            Deadline(min(CHECKPOINT_SECONDS, assembly.kafka_seconds_max)),
        )
        checkpoint = None if value is None else assembly.messages.decode_checkpoint(value)
    except (SinkError, EncodingError) as error:
        return Check("kafka", fine=False, text=f"not compared with Kafka's checkpoint: {error}", hint=error.hint)
    standing, position = state.journal.compare(checkpoint), state.journal.position()
    if checkpoint is None:
        return Check("kafka", fine=True, text=f"no checkpoint, as nothing is published; {position.pending:,} pending")
    text = f"checkpoint at epoch {checkpoint.epoch}, sequence {checkpoint.sequence}, snapshot {checkpoint.sealed}"
    pending = position.last_sequence - checkpoint.sequence if checkpoint.epoch == position.epoch else position.pending
    text += f", which fits the file; {pending:,} changes pending"
    if standing is Standing.WITHIN:
        text += "; Kafka has confirmed more than the file has noted, and the next poll notes it"
    return Check("kafka", fine=True, text=text)


def _asked(name: str, question: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """The findings of a question; an error of ours is one."""
    try:
        yield from question()
    except ConnectorError as error:
        yield Check(name, fine=False, text=str(error), hint=error.hint, exit_code=error.exit_code)


def _token(assembly: Assembly) -> Iterator[Check]:
    token = assembly.tokens.token()
    claims = claims_of(token)
    granted = [*claims.roles, *claims.scopes]
    yield Check("token", fine=True, text=f"audience {claims.audience}, grants {', '.join(granted) or 'nothing'}")
    permitted = [name for name in PERMISSIONS if name in granted]
    scope = assembly.config.source.scope
    yield Check(
        "permission",
        fine=bool(permitted),
        text=permitted[0] if permitted else f"the token does not grant {PERMISSIONS[0]}",
        hint="" if permitted else explain_denial(token, scope),
        exit_code=SourceDenied.exit_code,
    )


def _inventory_topic(mirror: Mirror) -> dict[str, Any]:
    """How far it is filled up: `records`, `stale` (keys to be ended), or `whole`; and the records to go."""
    return {"phase": mirror.cursor().phase, "remaining": mirror.remaining()}


def _state(assembly: Assembly) -> Check:
    path = assembly.config.state.path
    if not path.exists():
        return Check("state", fine=True, text=f"{path} will be made by the first poll")
    with assembly.read_state() as state:
        position = state.journal.position()
    return Check("state", fine=True, text=f"{path}: epoch {position.epoch}, {position.pending:,} changes pending")


def _subject(assembly: Assembly, topic: Topic) -> str:
    return f"{assembly.topic(topic)}-value"


def _register(assembly: Assembly, topic: Topic) -> Iterator[Check]:
    subject = _subject(assembly, topic)
    schema_id = assembly.registry.register(subject, schemas.schema_of(topic))
    yield Check(subject, fine=True, text=f"registered with id {schema_id}, FULL_TRANSITIVE")


def _check_schema(assembly: Assembly, topic: Topic) -> Iterator[Check]:
    subject, schema = _subject(assembly, topic), schemas.schema_of(topic)
    problems = assembly.registry.find_conflicts(subject, schema)
    if problems:
        hint = "A newer connector registered it: update this one."
        yield Check(subject, fine=False, text="; ".join(problems), hint=hint)
        return
    yield Check(subject, fine=True, text=f"registered with id {assembly.registry.schema_id(subject, schema)}")
