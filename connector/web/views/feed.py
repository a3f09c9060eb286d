"""The feed to Kafka as the state file knows it, and the configuration behind it.

Nothing here asks Kafka or Microsoft: a page costs no calls.
"""

from __future__ import annotations

from typing import Any, Final

from connector.clock import moment_of
from connector.config.shown import settings
from connector.model import StagedSnapshot, Topic
from connector.operations.check import check_interval, check_placeholders, published_topics
from connector.redaction import Redactor
from connector.staging.inventory_topic import Mirror
from connector.web.query import Query, turn
from connector.web.views.past import read_snapshots
from connector.web.visits import Facts, Visit

CARRIES: Final[dict[Topic, str]] = {
    Topic.CHANGES: "what was added, removed and changed",
    Topic.ALERTS: "end-of-support alerts",
    Topic.SNAPSHOTS: "a report of each snapshot; it seals the snapshot's changes",
    Topic.CHECKPOINTS: "how far this connector has published",
    Topic.CAMPAIGNS: "the changes of a snapshot, folded by what happened",
    Topic.INVENTORY: "the current inventory, compacted by record",
}
TURNED_ON: Final = {Topic.INVENTORY: "kafka.inventory_topic", Topic.CAMPAIGNS: "campaigns.enabled"}
"""The keys of the configuration that turn a topic on; the others are always published."""

SNAPSHOT_NAMES: Final = (
    "snapshot_id", "inventory", "baseline", "generated_at", "staged_at", "added", "removed", "changed", "baselined",
    "alerts",
)  # fmt: skip


def delivery(visit: Visit, query: Query) -> Facts:
    """Topics, the last checkpoint, the backlog, and when Kafka confirmed each snapshot."""
    config, journal = visit.assembly.config, visit.state.journal
    position = journal.position()
    confirmations = journal.confirmations()
    published = published_topics(visit.assembly)
    mirror = Mirror(visit.state.database, visit.state.export)
    snapshots, end = read_snapshots(visit, query)
    return {
        "topics": [
            {
                "topic": visit.assembly.topic(topic),
                "carries": CARRIES[topic],
                "published": topic in published,
                "turned_on_by": TURNED_ON.get(topic),
            }
            for topic in Topic
        ],
        "value_format": config.kafka.value_format,
        "delivery": config.kafka.delivery,
        "transactional_id": config.transactional_id,
        "epoch": position.epoch,
        "last_sequence": position.last_sequence,
        "published_sequence": position.published_sequence,
        "published_at": None if position.published_at is None else moment_of(position.published_at),
        "pending": position.pending,
        "waiting": [snapshot.facts(SNAPSHOT_NAMES) for snapshot in journal.unsealed_snapshots()],
        "inventory_topic": {"phase": mirror.cursor().phase, "remaining": mirror.remaining()}
        if config.kafka.inventory_topic
        else None,
        "snapshots": [
            _sealed(snapshot, position.published_snapshot, confirmations.get(snapshot.snapshot_no))
            for snapshot in snapshots[: query.rows_max]
        ],
        **turn(end),
    }


def configuration(visit: Visit, _query: Query) -> Facts:
    """Every setting that applies, where it comes from, and what can be said of it without asking anybody."""
    config = visit.assembly.config
    redactor = Redactor(config.secrets)

    def clean(value: Any) -> Any:  # noqa: ANN401 - as JSON has it
        return redactor.redact(value) if isinstance(value, str) else value

    return {
        "settings": [
            {"key": setting.key, "value": clean(setting.value), "source": setting.source}
            for setting in settings(config)
        ],
        "checks": [
            {"name": check.name, "fine": check.fine, "text": clean(check.text), "hint": check.hint}
            for checks in (check_placeholders(config), check_interval(config))
            for check in checks
        ],
    }


def _sealed(snapshot: StagedSnapshot, sealed: int, confirmed: int | None) -> dict[str, Any]:
    """When Kafka confirmed a snapshot, and how long after it was staged; None where that is not noted."""
    return snapshot.facts(SNAPSHOT_NAMES) | {
        "sealed": snapshot.snapshot_no <= sealed,
        "confirmed_at": None if confirmed is None else moment_of(confirmed),
        "seconds": None if confirmed is None else max(0, confirmed - snapshot.staged_at) // 1000,
    }
